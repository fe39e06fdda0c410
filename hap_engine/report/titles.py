"""What methods and roles are called on the page."""

from __future__ import annotations

ROLE_TITLES = {
    "name_mover": "name mover",
    "negative_name_mover": "negative name mover",
    "backup_name_mover": "backup name mover",
    "s_inhibition": "S-inhibition",
    "induction": "induction",
    "duplicate_token": "duplicate-token",
    "previous_token": "previous-token",
}


OWN = "mine"  # key of the user's own circuit in a run


METHOD_TITLES = {
    "eap": "EAP",
    "eap-abs": "EAP (magnitudes)",
    "eap-gim": "EAP-GIM",
    "eap-relp": "RelP",
    "eap-ig": "EAP-IG",
    "eap-ig-mid": "EAP-IG (midpoints)",
    "eap-ig-kl": "EAP-IG (KL)",
    "rank-mean": "mean rank",
    "hap": "HAP",
    "ep": "EP",
    OWN: "Mine",
}
