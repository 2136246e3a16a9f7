"""Work that several processes share."""

import os

import torch

from taste.parallel import in_processes


def double(item):
    return 2 * item, os.getpid(), torch.get_num_threads()


def test_results_come_in_the_items_order_from_processes_of_one_thread():
    before = torch.get_rng_state()
    results = list(in_processes(double, range(7), 2))
    assert [result for result, _, _ in results] == [0, 2, 4, 6, 8, 10, 12]
    workers = {pid for _, pid, _ in results}
    assert len(workers) == 2 and os.getpid() not in workers
    assert {threads for _, _, threads in results} == {1}
    assert torch.equal(torch.get_rng_state(), before)


def test_one_process_is_this_one():
    assert [pid for _, pid, _ in in_processes(double, range(3), 1)] == [os.getpid()] * 3
