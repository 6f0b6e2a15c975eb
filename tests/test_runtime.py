"""Processes and signals."""

import os
import signal
import threading
import time

import pytest

from segkit.runtime.ranks import adopt_slurm
from segkit.runtime.signals import signal_handlers, stop_requests


def test_signal_handlers_are_restored_even_after_an_error():
    before = signal.getsignal(signal.SIGTERM)

    def fail():
        with signal_handlers({signal.SIGTERM: signal.SIG_IGN}):
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_handler_that_python_did_not_install_becomes_the_default(monkeypatch):
    install, answers = signal.signal, [None]
    monkeypatch.setattr(signal, "signal", lambda number, handler: (install(number, handler), *answers)[-1])
    before = signal.getsignal(signal.SIGUSR1)
    with signal_handlers({signal.SIGUSR1: signal.SIG_IGN}):
        pass
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    install(signal.SIGUSR1, before)


def test_outside_the_main_thread_no_handler_is_installed():
    seen = []

    def work():
        with signal_handlers({signal.SIGTERM: signal.SIG_IGN}):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_second_request_to_stop_interrupts():
    def ask_twice():
        with stop_requests() as request:
            for _ in range(3):  # one request, that came by several ways
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
            assert request.asked
            time.sleep(1.2)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        ask_twice()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_hang_up_is_a_request_to_stop_unless_it_is_ignored():
    with signal_handlers({signal.SIGHUP: signal.SIG_DFL}), stop_requests() as request:
        os.kill(os.getpid(), signal.SIGHUP)
        assert request.asked
    with signal_handlers({signal.SIGHUP: signal.SIG_IGN}), stop_requests() as request:  # as under nohup
        os.kill(os.getpid(), signal.SIGHUP)
        assert not request.asked


@pytest.mark.parametrize(
    ("nodes", "first"), [("gpu[03-05,9],login", "gpu03"), ("node7,node8", "node7"), ("a[1-2]-ib", "a1-ib")]
)
def test_ranks_of_a_slurm_step_meet_at_its_first_node(monkeypatch, nodes, first):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that what is set below is undone
        monkeypatch.delenv(name)
    for name, value in {"NUM_TASKS": "4", "NODELIST": nodes}.items():
        monkeypatch.setenv(f"SLURM_STEP_{name}", value)
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    adopt_slurm()
    assert os.environ["MASTER_ADDR"] == first
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")] == ["3", "4", "1"]
