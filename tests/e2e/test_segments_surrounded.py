"""Fixed firewalls before and after a pair: everything crosses both, whatever chain is between them."""

from __future__ import annotations

import pytest

from catenary.errors import Conflict
from tests.e2e.watching import SHORT, judged, keys_of, nfs_of
from tests.isolation import isolated
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.surrounded import SURROUNDED
from topologies.testbed import Testbed
from topologies.traffic import Talks, Transfers, WebServer, ping
from topologies.watching import wait_quiet, watch

CHAINS = {"one": ("n1",), "two": ("n2",)}


@isolated
def test_a_pair_scales_only_the_part_between_fixed_nfs() -> None:
    with Testbed(blueprint=SURROUNDED, timeouts=SHORT) as testbed:
        h1, h2, h3 = (testbed.hosts[name] for name in ("h1", "h2", "h3"))
        assert ping(h1, h2.address(), count=1, timeout=0.3) == 0  # f1 alone leads nowhere
        testbed.add_chain(["n1"], name="one")
        for address in (h2.address(), h2.address(6), h3.address(), h3.address(6)):
            assert ping(h1, address) == 3, address
        with pytest.raises(Conflict, match="NF 'f1' stands fixed at segment 'main'"):
            testbed.add_chain(["f1"])
        with (
            watch(testbed, "main", ("n1", "n2")) as taps,
            WebServer(h2) as web,
            Transfers(h3, [web.url("4k"), web.url("4k", 6)], name="short", parallel=2, pause=0.05) as short,
            Talks(h1, h2, name="from-client") as early,
            Talks(h2, h1, name="from-server", port=7001) as opened_by_server,
        ):
            testbed.add_chain(["n2"], name="two")
            with Talks(h1, h2, name="later", port=7002) as later:
                everyone = (early, opened_by_server, later)
                assert [talks.wait_rounds(3).failures for talks in everyone] == [()] * 3
                removal = testbed.management.remove_chain("one")
                wait_until(lambda: testbed.management.chain("one").state == "cooling", "cooling")
                assert [talks.wait_rounds(3).failures for talks in everyone] == [()] * 3
                keys = [keys_of(talks) for talks in everyone]
                dropped = {name: testbed.firewalls[name].counters().dropped for name in SURROUNDED.nfs}
            early.end()
            opened_by_server.end()
            assert testbed.management.wait(removal, PATIENCE_S).state == "succeeded"
            transferred = short.stop()
            wait_quiet(taps)
            recording, verdict = judged(taps, CHAINS)
            opened = {name: testbed.firewalls[name].counters().opened for name in SURROUNDED.nfs}
        assert transferred.failures == 0
        assert verdict.failures == ()
        assert verdict.sessions == transferred.sessions + sum(map(len, keys))
        assert verdict.server_opened == len(keys[1])
        where = nfs_of(recording)
        assert all(where[key] == {"n1"} for key in keys[0] | keys[1])
        assert {nf for key in keys[2] for nf in where[key]} == {"n1", "n2"}
        # The fixed ones saw all sessions whole, from the beginning: they take up none in the middle.
        assert opened["n1"] + opened["n2"] == opened["f1"] == opened["f2"] >= verdict.sessions
        assert not any(dropped.values()), dropped
