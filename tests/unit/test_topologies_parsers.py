"""What the testbed reads from httperf, iperf3, nft and its own load generator, and from its command line."""

from __future__ import annotations

import json

import pytest

from catenary.errors import InvalidValue
from topologies import custom
from topologies.nfs.firewall import FirewallCounters
from topologies.traffic import HttperfResult, IperfResult, TransferResult
from topologies.wiring import Attachment

HTTPERF = """\
httperf --client=0/1 --server=10.0.0.2 --port=80 --uri=/750k --rate=12 --num-conns=60 --num-calls=1
Maximum connect burst length: 1

Total: connections 60 requests 59 replies 58 test-duration 5.075 s

Connection rate: 11.8 conn/s (84.6 ms/conn, <=6 concurrent connections)
Connection time [ms]: min 85.7 avg 241.4 max 535.2 median 232.5 stddev 98.4
Connection time [ms]: connect 21.1
Connection length [replies/conn]: 1.000

Request rate: 11.8 req/s (84.6 ms/req)
Request size [B]: 66.0

Reply rate [replies/s]: min 11.6 avg 11.6 max 11.6 stddev 0.0 (1 samples)
Reply time [ms]: response 22.8 transfer 197.5
Reply size [B]: header 245.0 content 750000.0 footer 0.0 (total 750245.0)
Reply status: 1xx=0 2xx=57 3xx=0 4xx=1 5xx=0

CPU time [s]: user 1.20 system 3.85 (user 23.7% system 75.8% total 99.5%)
Net I/O: 8662.1 KB/s (71.0*10^6 bps)

Errors: total 2 client-timo 1 socket-timo 0 connrefused 0 connreset 1
Errors: fd-unavail 0 addrunavail 0 ftab-full 0 other 0
"""


def test_httperf_output_becomes_numbers() -> None:
    result = HttperfResult.parse(HTTPERF)
    assert (result.connections, result.requests, result.replies, result.ok) == (60, 59, 58, 57)
    assert result.duration == 5.075
    assert result.median_ms == 232.5
    assert result.throughput == pytest.approx(8662.1 * 1024)
    assert result.errors["connreset"] == 1
    assert result.errors["other"] == 0


def test_httperf_failures_are_errors_and_bad_replies() -> None:
    assert HttperfResult.parse(HTTPERF).failures == 3


@pytest.mark.parametrize(
    "lost, named", [("Net I/O", "kilobytes"), ("Errors", "error counts"), ("Total", "connections")]
)
def test_httperf_output_that_lacks_something_is_refused_by_name(lost: str, named: str) -> None:
    with pytest.raises(InvalidValue, match=named):
        HttperfResult.parse(HTTPERF.replace(lost, "?"))


def test_iperf_output_becomes_bytes_a_second() -> None:
    text = json.dumps(
        {
            "intervals": [{"sum": {"bits_per_second": 800}}, {"sum": {"bits_per_second": 1600}}],
            "end": {"sum_received": {"bits_per_second": 1200}, "sum_sent": {"retransmits": 7}},
        }
    )
    assert IperfResult.parse(text) == IperfResult(throughput=150, per_second=(100, 200), retransmits=7)


def test_iperf_error_is_passed_on() -> None:
    with pytest.raises(InvalidValue, match="unable to connect"):
        IperfResult.parse('{"error": "unable to connect to server"}')


def test_transfer_line_becomes_a_result() -> None:
    line = json.dumps(
        {
            "started": 100.0,
            "ended": 102.0,
            "sessions": 5,
            "requests": 3,
            "failures": 1,
            "bytes": 3000,
            "open": 1,
            "cut": 0,
            "errors": {"TimeoutError": 1},
            "per_second": [1000, 2000],
        }
    )
    result = TransferResult.parse(line)
    assert result.per_second == (1000, 2000)
    assert result.throughput == 1500


def test_firewall_counters_by_name() -> None:
    counters = {"established": 9, "opened": 2, "icmp_opened": 1, "dropped": 4}
    items = [{"counter": {"name": name, "packets": count, "bytes": 0}} for name, count in counters.items()]
    text = json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *items]})
    assert FirewallCounters.parse(text) == FirewallCounters(**counters)


def test_attachment_has_the_balancers_own_url_unless_given() -> None:
    assert Attachment.parse("l1=em1,em2") == Attachment("l1", "em1", "em2", "https://10.255.0.11:8082")
    assert Attachment.parse("l2=a,b,https://192.0.2.1:9").url == "https://192.0.2.1:9"


@pytest.mark.parametrize("text", ["l3=em1,em2", "l1", "l1=em1", "l1=em1,", "l1=em1,em1"])
def test_attachment_that_names_no_balancer_or_no_two_interfaces_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"--attach .*" + text):
        Attachment.parse(text)


@pytest.mark.parametrize(
    "parameters, answer",
    [
        ({"nf_rate": "fast"}, "nf_rate=fast: say Mbit/s, as in nf_rate=40, or 0 for unlimited"),
        ({"nf_rate": -1}, "nf_rate=-1: say Mbit/s, as in nf_rate=40, or 0 for unlimited"),
        ({"rate": 40}, "no parameter 'rate' here, there are nf and nf_rate"),
    ],
)
def test_mn_is_told_in_one_line_what_a_topology_does_not_take(
    parameters: dict[str, object], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topos, _, _ = custom.for_mn(testbed=pytest.fail)
    with pytest.raises(SystemExit) as ended:
        topos["testbed"](**parameters)
    assert (ended.value.code, capsys.readouterr().err) == (2, f"testbed: --topo: {answer}\n")
