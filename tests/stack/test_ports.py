import socket

from fleetml.stack import ports


def test_a_free_preference_is_kept():
    wanted = ports.free()
    assert ports.free(wanted) == wanted


def test_a_taken_port_is_never_given():
    with socket.socket() as holder:
        holder.bind((ports.HOST, 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert ports.free(taken) != taken


def test_a_port_taken_on_all_addresses_is_never_given():
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert ports.free(taken) != taken


def test_two_starts_at_once_never_choose_the_same_port():
    wanted = ports.free()
    with ports.reserving() as one, ports.reserving() as other:
        assert one(wanted) == wanted
        assert other(wanted) != wanted
    with ports.reserving() as later:
        assert later(wanted) == wanted
