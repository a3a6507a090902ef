"""The checks, one file each, in the order they run.

Re-execution (5) and outcome (7) have no steps and no hidden checks to look at yet; they join the table with toolchains.
"""

from audit.checks.authenticity import check_authenticity
from audit.checks.eligibility import check_eligibility
from audit.checks.inference import check_inference
from audit.checks.integrity import check_integrity
from audit.checks.replay import check_replay
from audit.finding import Check

CHECKS: dict[str, Check] = {
    "integrity": check_integrity,
    "authenticity": check_authenticity,
    "eligibility": check_eligibility,
    "replay": check_replay,
    "inference": check_inference,
}
