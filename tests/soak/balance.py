"""The balance at the end: what was acknowledged, what the job store says, what the archives hold."""

import sqlite3


def balance(spool, acknowledged, sink, orthanc):
    """Every line is a finding; none is a balance."""
    store = sqlite3.connect(f"file:{spool / 'jobs.sqlite'}?mode=ro", uri=True)
    rows = lambda query: store.execute(query).fetchall()
    wrong = []

    known = {instance for (instance,) in rows("SELECT DISTINCT instance FROM object")}
    lost = acknowledged - known
    if lost:
        wrong.append(f"{len(lost)} acknowledged instances are unknown to the node: {sorted(lost)[:3]}")

    states = dict(rows("SELECT state, count(*) FROM delivery GROUP BY state"))
    waiting = states.get("waiting", 0) + states.get("failed", 0)
    if waiting:
        wrong.append(f"deliveries that are not over: {states}")
    jobs = dict(rows("SELECT state, count(*) FROM job GROUP BY state"))

    # A second report of a version, under another UID, is one that nothing counts as sent.
    sent, unasked = {"sink": [], "orthanc": []}, 0
    for destination, instance in rows("SELECT destination, sent_instance FROM delivery WHERE state = 'sent'"):
        sent[destination].append(instance)
    held = {"sink": set(sink.contents), "orthanc": set(orthanc)}
    for name, instances in sent.items():
        missing, more = set(instances) - held[name], held[name] - set(instances)
        if missing:
            wrong.append(f"{name} lacks {len(missing)} objects that count as sent: {sorted(missing)[:3]}")
        unasked += len(more)
        if more:
            wrong.append(f"{name} holds {len(more)} objects that nothing counts as sent: {sorted(more)[:3]}")
    if len(orthanc) != len(set(orthanc)):
        wrong.append("orthanc holds an instance twice")

    undelivered = acknowledged - held["sink"]
    if undelivered:
        wrong.append(f"{len(undelivered)} acknowledged images are not in the sink: {sorted(undelivered)[:3]}")

    # Each drafted version has a report under a UID of its own.
    uids = rows("SELECT destination, sent_instance FROM delivery WHERE state = 'sent' AND artefact = 'report'")
    if len(uids) != len(set(uids)):
        wrong.append("two versions share a report UID")

    # What the sink holds of an image is byte for byte what came in.
    digests = {}
    for instance, digest in rows("SELECT instance, digest FROM object WHERE own = 0"):
        digests.setdefault(instance, set()).add(digest)
    changed = [i for i, contents in sink.contents.items() if i in digests and not contents <= digests[i]]
    if changed:
        wrong.append(f"{len(changed)} images are other bytes in the sink: {changed[:3]}")
    several = [i for i, contents in sink.contents.items() if i not in digests and len(contents) > 1]
    if several:
        wrong.append(f"{len(several)} report UIDs name two contents: {several[:3]}")

    figures = {
        "acknowledged": len(acknowledged),
        "instances at the node": len(known),
        "jobs": jobs,
        "deliveries": states,
        "sink holds": len(held["sink"]),
        "sink was sent": sink.stores,
        "sink refused": sink.refused,
        "orthanc holds": len(orthanc),
        "reports": len(uids),
        "lost": len(lost | undelivered),
        "duplicated": unasked + len(several),
    }
    return figures, wrong
