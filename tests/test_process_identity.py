import os
import signal
import subprocess
import sys

from fleetml import process_identity as identity


def test_a_process_keeps_its_tick_until_it_ends_reaped_or_not():
    assert identity.started() == identity.started(os.getpid()) > 0
    with subprocess.Popen(["sleep", "600"]) as child:
        began = identity.started(child.pid)
        assert began >= identity.started()
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert identity.started(child.pid) == -1, "a zombie is over"
    assert identity.started(child.pid) == -1


def test_boot_and_namespace_are_the_same_for_all_who_see_each_other():
    code = "from fleetml import process_identity as i; print(i.boot(), i.namespace())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == [identity.boot(), identity.namespace()]
