#!/usr/bin/env python3
"""Prints the conformance checklist: line, what it asks, how many tests stand for it, result.

Usage: conformance_table.py JUNIT_XML. Exit status 1 when a line has no test, a failing one, or only skipped ones.
A test stands for line N when its name begins with test_line_N_.
"""
import collections
import re
import sys
import xml.etree.ElementTree as ElementTree

LINES = {
    1: "NTS-KE on TCP 4460 by default, IPv4 and IPv6",
    2: "TLS 1.3 only; older clients get alert protocol_version",
    3: "ALPN ntske/1 or alert no_application_protocol",
    4: "no early data, no tickets, no resumption",
    5: "requests split at any octet, over TLS records and TCP segments",
    6: "requests up to 16384 octets; longer: Error 1",
    7: "one request, one response; what follows is ignored",
    8: "close_notify after the response; clients may omit theirs",
    9: "one deadline: Error 1 after the handshake, plain close before",
    10: "certificate chain, whatever name is asked for",
    11: "request cut short: Error 1 where it can still be sent",
    12: "records are not aligned; odd bodies are legal",
    13: "unknown record: ignored, or Error 0 when critical",
    14: "End of Message: empty, critical, last",
    15: "Next Protocol: exactly one, critical, whole",
    16: "unknown protocols in the list are skipped",
    17: "no common protocol: an empty list, not an Error",
    18: "records only servers send: Error 1",
    19: "AEAD record: exactly one, whole, critical or not",
    20: "one algorithm, of those offered; 15 always suffices",
    21: "no common algorithm: empty list, no cookies",
    22: "our order of preference decides; configurable",
    23: "eight distinct cookies of one length, not critical",
    24: "Server record from clients: one, well formed, echoed or ignored",
    25: "Server record from us: one, of the session's family or a name",
    26: "Port record: two octets, when NTP is not on 123 or configured",
    27: "records in any order",
    28: "Error response: Error and End of Message, nothing else",
    29: "internal failure: Error 2",
    30: "keys from the TLS exporter: label, context, length",
    31: "record 1024 and AEAD 30",
    32: "private record types are ignored unless critical",
    33: "pool records",
    34: "extension field types and lengths",
    35: "modes and versions that are answered",
    36: "Unique Identifier: one, 32 octets or more, echoed",
    37: "Unique Identifier of a plain request is echoed",
    38: "cookie: one, in the clear",
    39: "placeholders: anywhere, any contents, the cookie's length",
    40: "lengths inside the authenticator",
    41: "associated data: everything before the authenticator",
    42: "too little room for our nonce: discarded",
    43: "other nonce lengths and more padding are accepted",
    44: "GCM-SIV nonce: twelve octets",
    45: "unknown fields before the authenticator: authenticated, ignored",
    46: "what follows the authenticator is discarded",
    47: "reply: identifier, then authenticator; at most eight cookies, all good",
    48: "no reply is longer than its request",
    49: "the reply's whole header is authenticated",
    50: "no nonce comes twice",
    51: "cookie that does not open: NTS NAK",
    52: "authenticator that does not verify: NAK; structural fault: silence",
    53: "NAKs and kisses are limited; never both, never without identifier",
    54: "the cookie's algorithm counts, not today's configuration",
    55: "older generations keep working; new cookies are current, of one length",
    56: "cookies under the next key work before our rotation",
    57: "plain NTP is answered, from the address asked",
    58: "eight cookies fit 1280 octets",
    59: "a cookie may be used again; no state per client",
    60: "NTS over the rate limit is dropped, never kissed",
    61: "rotation: daily, on the monotonic clock",
    62: "retired keys are erased from file and memory",
    63: "key file: private, durable, whole or refused, no links followed",
    64: "emergency rekey",
    65: "ratchet",
}
EXEMPT = {33, 65}  # later work; 10 without its reload
NAME = re.compile(r"test_line_(\d+)_")


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    results = collections.defaultdict(collections.Counter)
    for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
        if match := NAME.match(case.get("name")):
            results[int(match[1])][outcome(case)] += 1
    bad = [n for n in results if n not in LINES]
    print(f"{'line':>4}  {'what':<72}  {'tests':>5}  result")
    for number, what in LINES.items():
        counts = results[number]
        if counts["failed"]:
            result = f"{counts['failed']} FAILED"
        elif counts["passed"]:
            result = "passed" + (f", {counts['skipped']} skipped" if counts["skipped"] else "")
        elif number in EXEMPT:
            result = "later"
        else:
            result = "NOT SHOWN"
        if result.isupper() or "FAILED" in result:
            bad.append(number)
        print(f"{number:>4}  {what:<72}  {sum(counts.values()):>5}  {result}")
    if bad:
        sys.exit(f"lines not shown: {', '.join(map(str, sorted(bad)))}")


if __name__ == "__main__":
    main()
