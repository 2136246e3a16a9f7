"""Work that several processes share."""

import os

import pytest
import torch

from taste.parallel import AHEAD, ahead_of_use, in_processes


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


def test_a_thread_works_ahead_but_not_far():
    done = []
    results = ahead_of_use(lambda item: done.append(item) or 2 * item, range(100))
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    results.close()
    assert done == list(range(len(done))) and 3 <= len(done) <= 3 + AHEAD
    assert list(ahead_of_use(str, [])) == []


def test_an_error_comes_with_its_item():
    results = ahead_of_use(lambda item: 1 / item, [1, 0])
    assert next(results) == 1.0
    with pytest.raises(ZeroDivisionError):
        next(results)
