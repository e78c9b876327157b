"""The one-slot mailbox and its thread."""

from __future__ import annotations

import threading
import time

from memorysam_ros.worker import Mailbox, Worker


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.001)


def test_the_newest_item_wins():
    box = Mailbox()
    assert box.put(1) is None
    assert box.put(2) == 1
    assert box.take() == 2
    box.put(3)
    box.put(4)
    box.clear()
    box.put(5)
    assert box.take() == 5


def test_of_two_items_put_at_once_to_an_idle_taker_none_is_lost():
    done = []
    worker = Worker(done.append, failed=lambda item, error: None)
    for k in range(0, 100, 2):
        wait_for(lambda k=k: len(done) == k and worker.idle)
        assert worker.put(k) is None
        assert worker.put(k + 1) is None
    wait_for(lambda: len(done) == 100)
    assert done == list(range(100))
    assert worker.stop(60)


def test_while_the_job_runs_only_the_newest_waits():
    started, go_on, done = threading.Event(), threading.Event(), []

    def job(item):
        started.set()
        go_on.wait(60)
        done.append(item)

    worker = Worker(job, failed=lambda item, error: None)
    worker.put(0)
    started.wait(60)
    replaced = [worker.put(k) for k in (1, 2, 3)]
    go_on.set()
    wait_for(lambda: len(done) == 2)
    assert (replaced, done) == ([None, 1, 2], [0, 3])
    assert worker.stop(60)


def test_an_exception_is_reported_with_its_item_and_the_next_one_is_worked_on():
    done, failures = [], []

    def job(item):
        if item % 3 == 0:
            raise RuntimeError(f"item {item}")
        done.append(item)

    worker = Worker(job, failed=lambda item, error: failures.append((item, str(error))))
    for k in range(1, 10):
        worker.put(k)
        wait_for(lambda k=k: len(done) + len(failures) == k)
    assert done == [1, 2, 4, 5, 7, 8]
    assert failures == [(3, "item 3"), (6, "item 6"), (9, "item 9")]
    assert worker.stop(60)


def test_stop_finishes_the_item_in_work_and_leaves_no_thread():
    before = threading.active_count()
    started, done = threading.Event(), []

    def job(item):
        started.set()
        time.sleep(0.05)
        done.append(item)

    for _ in range(3):
        started.clear()
        worker = Worker(job, failed=lambda item, error: None)
        worker.put("in work")
        started.wait(60)
        worker.put("waiting")
        assert worker.stop(60)
    assert set(done) == {"in work"}
    assert threading.active_count() == before


def test_an_idle_worker_stops():
    worker = Worker(lambda item: None, failed=lambda item, error: None)
    assert worker.stop(60)


def test_errands_are_run_while_there_is_no_item_and_the_newest_of_a_kind_wins():
    started, go_on, done = threading.Event(), threading.Event(), []

    def job(item):
        started.set()
        go_on.wait(60)
        done.append(item)

    worker = Worker(job, failed=lambda item, error: None)
    worker.offer("depth", lambda: done.append("depth 0"))
    wait_for(lambda: done == ["depth 0"])
    worker.put("set 1")
    started.wait(60)
    for k in (1, 2):
        worker.offer("depth", lambda k=k: done.append(f"depth {k}"))
        worker.offer("lidar", lambda k=k: done.append(f"lidar {k}"))
    worker.put("set 2")
    go_on.set()
    wait_for(lambda: len(done) == 5)
    assert done == ["depth 0", "set 1", "set 2", "depth 2", "lidar 2"]
    assert worker.stop(60)


def test_of_two_items_put_during_an_errand_none_is_lost():
    started, go_on, done = threading.Event(), threading.Event(), []

    def errand():
        started.set()
        go_on.wait(60)

    worker = Worker(done.append, failed=lambda item, error: None)
    worker.offer("lidar", errand)
    started.wait(60)
    assert [worker.put(k) for k in range(4)] == [None, None, 1, 2]
    go_on.set()
    wait_for(lambda: done == [0, 3])
    assert worker.stop(60)
