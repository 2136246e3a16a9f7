"""SLURM and Grid Engine on this machine alone: each a cluster of one node, in a folder and on ports of its own."""

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

HOST = socket.gethostname().partition(".")[0]
SLURM_PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel"]
GRID_ENGINE = Path("/usr/lib/gridengine")  # Debian's programs
GRID_ENGINE_SHARE = Path("/usr/share/gridengine")

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=100000
PartitionName=all Nodes=ALL Default=YES
"""


def free_ports(number):
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def daemon(*command, environment):
    """A program that stays in the foreground, until the block ends."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until(condition, seconds=120, what="what the test waits for"):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} has not come about in {seconds} s"
        time.sleep(0.1)


class Launched:
    """A launcher that runs in a folder."""

    def __init__(self, folder, environment, launcher, *arguments):
        self.folder = folder
        command = [str(argument) for argument in (launcher, *arguments)]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which may be ignored in tests
        )  # fmt: skip
        self._said = None

    def finish(self):
        """Wait for it; returns its exit status and what it said."""
        if self._said is None:
            self._said = self.process.communicate(timeout=300)[1]
        return self.process.returncode, self._said

    def text(self, name):
        """What a file of the folder holds by now."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def wait_for(self, name, text=""):
        """Wait until a file of the folder is there and holds a text; returns what it holds."""
        wait_until(lambda: (self.folder / name).exists() and text in self.text(name), what=f"{text} in {name}")
        return self.text(name)


def output(*command, environment):
    """The standard output of a command, empty where it fails."""
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def missing_for_slurm():
    """Why no SLURM can be started here, or an empty string."""
    missing = [program for program in SLURM_PROGRAMS if not shutil.which(program, path=_path())]
    return f"no {', '.join(missing)} here; on Debian: apt-get install slurm-wlm munge" if missing else ""


def _path():
    return os.environ["PATH"] + ":/usr/sbin:/sbin"  # where Debian has the daemons


@contextlib.contextmanager
def slurm(folder):
    """A SLURM of one node with 8 processors, whether the machine has them or not; gives the environment to use it."""
    user = pwd.getpwuid(os.getuid()).pw_name
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir()
    (folder / "munge").chmod(0o711)
    (folder / "munge/key").write_bytes(secrets.token_bytes(128))
    (folder / "munge/key").chmod(0o400)
    (folder / "slurm.conf").write_text(SLURM_CONF.format(host=HOST, ports=free_ports(2), user=user, folder=folder))
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    munge = {name: folder / "munge" / name for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")}
    munge["key-file"] = folder / "munge/key"
    options = [f"--{name}={path}" for name, path in munge.items()]
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon("munged", "--foreground", "--force", *options, environment=environment))
        wait_until(lambda: (folder / "munge/socket").exists(), what="munged")
        stack.enter_context(daemon("slurmctld", "-D", environment=environment))
        stack.enter_context(daemon("slurmd", "-D", environment=environment))
        state = ("sinfo", "--noheader", "--format=%T")
        wait_until(lambda: output(*state, environment=environment) == "idle", what=f"SLURM in {folder}")
        try:
            yield environment
        finally:
            subprocess.run(["scancel", f"--user={user}"], env=environment)
            wait_until(lambda: not output("squeue", "--noheader", environment=environment), what="the end of all jobs")


GRID_ENGINE_BOOTSTRAP = """
admin_user none
default_domain none
ignore_fqdn true
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params {folder}/spool
binary_path {programs}
qmaster_spool_dir {folder}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""


def missing_for_grid_engine():
    """Why no Grid Engine can be started here, or an empty string."""
    missing = [name for name in ("sge_qmaster", "sge_execd", "qsub") if not (GRID_ENGINE / name).exists()]
    if missing:
        return f"no {', '.join(missing)} here; on Debian: apt-get install gridengine-master gridengine-exec"
    return "" if os.getuid() == 0 else "Grid Engine's daemons are started by root alone"


@contextlib.contextmanager
def grid_engine(folder):
    """A Grid Engine of one node with 8 slots; gives the environment to use it."""
    ports = free_ports(2)
    environment = {
        **os.environ, "PATH": f"{GRID_ENGINE}:{os.environ['PATH']}", "SGE_ROOT": str(folder), "SGE_CELL": "default",
        "SGE_ARCH": "lx-amd64", "SGE_QMASTER_PORT": str(ports[0]), "SGE_EXECD_PORT": str(ports[1]),
        "SGE_ND": "1",  # the daemons stay in the foreground
    }  # fmt: skip

    def call(*command):
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)

    def with_settings(text, **settings):
        """A file of Grid Engine's settings in which some are others."""
        for name, value in settings.items():
            text = re.sub(rf"^{name}\s.*", f"{name} {value}", text, flags=re.MULTILINE)
        (folder / "settings").write_text(text)
        return folder / "settings"

    common = folder / "default/common"
    for path in (common, folder / "qmaster/job_scripts", folder / "execd", folder / "spool", folder / "bin"):
        path.mkdir(parents=True)
    (folder / "bin/lx-amd64").symlink_to(GRID_ENGINE)
    (folder / "util").symlink_to(GRID_ENGINE_SHARE / "util")
    (common / "bootstrap").write_text(GRID_ENGINE_BOOTSTRAP.format(folder=folder, programs=GRID_ENGINE))
    (common / "act_qmaster").write_text("localhost\n")
    (common / "host_aliases").write_text(f"localhost {socket.gethostname()} {HOST}\n")
    call("spoolinit", "berkeleydb", "libspoolb", folder / "spool", "init")
    text = (
        (GRID_ENGINE_SHARE / "default-configuration").read_text().replace("flush_time=00:00:15", "flush_time=00:00:01")
    )
    settings = with_settings(text, execd_spool_dir=folder / "execd", min_uid=0, min_gid=0, administrator_mail="none")
    call("spooldefaults", "configuration", settings)
    for kind, name in (("complexes", "centry"), ("usersets", "usersets")):
        call("spooldefaults", kind, GRID_ENGINE_SHARE / "util/resources" / name)
    call("spooldefaults", "managers", pwd.getpwuid(os.getuid()).pw_name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon("sge_qmaster", environment=environment))
        wait_until(lambda: output("qconf", "-sss", environment=environment), what=f"Grid Engine in {folder}")
        call("qconf", "-as", "localhost")
        text = output("qconf", "-ssconf", environment=environment) + "\n"
        settings = with_settings(text, schedule_interval="0:0:1", flush_submit_sec=1, flush_finish_sec=1)
        call("qconf", "-Msconf", settings)
        text = (GRID_ENGINE_SHARE / "util/resources/pe/make").read_text()
        call("qconf", "-Ap", with_settings(text, pe_name="smp", slots=8, allocation_rule="$pe_slots"))
        text = output("qconf", "-sq", environment=environment) + "\n"
        queue = {"qname": "all.q", "hostlist": "localhost", "slots": 8, "pe_list": "smp", "load_thresholds": "NONE"}
        call("qconf", "-Aq", with_settings(text, **queue))
        stack.enter_context(daemon("sge_execd", environment=environment))
        wait_until(lambda: " lx-amd64 " in output("qhost", environment=environment), what="Grid Engine's node")
        try:
            yield environment
        finally:
            subprocess.run(["qdel", "-u", "*"], env=environment, capture_output=True)
            wait_until(lambda: not output("qstat", environment=environment), what="the end of all jobs")
