"""What a node does in each round of its task: work, submit, audit, distribute, collect. Chain and middle server meet here.

settings     who the node is and what it is told
schedule     which duty is due at which slot; pure
middle       signed requests to the middle server
views        chain and middle server as the audit's checks want them
working      from a lease to a reported proof
auditing     from a peer's submission to a signed verdict
submitting   what goes on chain for a round
paying       the list, its audit, its payout, and the reward
telling      verdicts on this node's own proofs, as events of the runs
acting       transactions of this node
node         the loop that does what is due
status       what the node says of itself: what it does, why it is idle, why it was or was not paid
"""
