"""A whole network on one machine: database, chain, middle server and nodes, each a process of its own, talking HTTP on loopback.

    layout       who takes part, and where each keeps its things
    children     processes: started, waited for until they say where they listen, and ended, however this one ends
    genesis      what the chain must hold before anybody can work: a task, stakes, money
    conductor    winds the chain's clock on as soon as everybody has done what the slot asks of them
    network      all of it, as one context
    once         one work item from its post to its payment
    stored       a devnet that is not running: what its chain and its database say, for whoever checks a proof afterwards

A devnet's keys are known to everybody (ADR 4), and its chain gives its tokens away: everything listens on loopback only.
"""
