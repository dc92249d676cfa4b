"""An NTS client for as long as its standard input is open: one NTS-KE, then a request every 20 ms with the cookies of
the replies. Says "associated" once it is, and at the end as JSON what became of the requests."""
import json
import os
import select
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import ntslib as nts  # noqa: E402

association = nts.key_exchange("127.0.0.1", 4460, nts.ke_request([nts.SIV256])).association()
print("associated", flush=True)
seen = {"answered": 0, "lost": 0, "refused": 0, "longest_gap_s": 0.0, "key_exchanges": 1}
last = time.monotonic()
with nts.NtpSocket("127.0.0.1", 123) as s:
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        cookie = association.cookies[0]
        request = nts.nts_request(association, cookie=cookie)
        try:
            s.send(request.packet)
            reply = s.receive(0.5)
            while reply and reply[24:32] != request.packet[40:48]:  # of one that was given up
                reply = s.receive(0.5)
        except ConnectionRefusedError:
            reply = None
        if reply is None:
            seen["lost"] += 1  # its cookie is good for another try: nobody has opened it
            continue
        try:
            nts.check_reply(reply, request)
            association.cookies.pop(0)
            seen["answered"] += 1
        except AssertionError:
            seen["refused"] += 1
        seen["longest_gap_s"] = max(seen["longest_gap_s"], round(time.monotonic() - last, 2))
        last = time.monotonic()
print(json.dumps(seen), flush=True)
