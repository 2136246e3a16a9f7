import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from taste.corpus import openslr
from taste.errors import RecipeError


def archive(members):
    """A tar.gz in memory; a member is its text, or a link's target given as a one-tuple."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = tarfile.SYMTYPE, content[0]
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
    return stream.getvalue()


TRANSCRIPT = "LibriSpeech/dev-clean/84/1/84-1.trans.txt"
GOOD = archive({"LibriSpeech/SPEAKERS.TXT": "speakers", TRANSCRIPT: "84-1-0000 WORD\n"})


@pytest.fixture
def server(monkeypatch):
    """Serves GOOD as dev-clean.tar.gz with ranges, the first answer cut off in the middle; yields its URL."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.headers.get("Range"))
            start = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") : -1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(GOOD) - start))
            self.end_headers()
            self.wfile.write(GOOD[start:] if len(requests) > 1 else GOOD[:100])

        def log_message(self, *args):
            pass

    monkeypatch.setitem(openslr.MD5, "dev-clean", hashlib.md5(GOOD).hexdigest())
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    httpd.requests = requests
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def test_a_cut_off_download_goes_on_and_is_unpacked(server, tmp_path):
    openslr.download_parts(tmp_path, ["dev-clean"], f"http://127.0.0.1:{server.server_port}", remove_archive=True)
    assert server.requests == [None, "bytes=100-"]
    assert (tmp_path / "dev-clean" / "84" / "1" / "84-1.trans.txt").read_text() == "84-1-0000 WORD\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SPEAKERS.TXT", "dev-clean"]
    openslr.download_parts(tmp_path, ["dev-clean"], "http://127.0.0.1:1")  # there already: no network needed


def test_a_damaged_archive_is_refused(tmp_path):
    (tmp_path / "dev-clean.tar.gz").write_bytes(GOOD[:-10])
    with pytest.raises(RecipeError, match=r"MD5 checksum .* is damaged"):
        openslr.download_parts(tmp_path, ["dev-clean"])
    assert not (tmp_path / "dev-clean").exists()


def test_without_network_the_message_says_where_the_corpus_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(openslr, "ATTEMPTS", 1)
    with pytest.raises(RecipeError) as error:
        openslr.download_parts(tmp_path, ["dev-clean"], "http://127.0.0.1:1")
    assert f"{tmp_path / 'dev-clean'} holds" in str(error.value)
    with pytest.raises(RecipeError, match="no part of LibriSpeech"):
        openslr.download_parts(tmp_path, ["dev-cleen"])


@pytest.mark.parametrize(
    "member",
    [
        {"LibriSpeech/../../evil": "x"},
        {"/LibriSpeech/evil": "x"},
        {"evil": "x"},
        {"LibriSpeech/dev-clean/link": ("/etc/passwd",)},
    ],
)
def test_members_outside_the_corpus_are_refused(member, tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    (tmp_path / "bad.tar.gz").write_bytes(archive({"LibriSpeech/dev-clean/84/1/a": "x", **member}))
    with pytest.raises(RecipeError, match="which LibriSpeech does not"):
        openslr.unpack(tmp_path / "bad.tar.gz", "dev-clean", root)
    assert not any(root.iterdir()) and not (tmp_path / "evil").exists()
