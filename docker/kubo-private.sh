#!/bin/sh
# Kubo's image runs this before every start of its daemon. It turns off what would tell the world of a node that serves only this
# one: by default Kubo seeks peers, announces what it keeps, fetches what strangers ask of its gateway, and reports its use.
# A node of the public IPFS leaves this file out (docker/README.md).
set -eu

set_to() { ipfs config --json "$1" "$2"; }

# Nobody is sought: no first peers, no table of who has what, no neighbours, and no list of all these fetched from its makers.
set_to AutoConf.Enabled false
set_to Bootstrap '[]'
set_to Routing.Type '"none"'
set_to Routing.DelegatedRouters '[]'
set_to Ipns.DelegatedPublishers '[]'
set_to DNS.Resolvers '{}'
set_to Discovery.MDNS.Enabled false

# Nobody is told: nothing announced, no certificate asked for, no port opened on a router, nothing relayed.
set_to Provide.Enabled false
set_to AutoTLS.Enabled false
set_to Swarm.DisableNatPortMap true
set_to Swarm.RelayClient.Enabled false
set_to Swarm.RelayService.Enabled false
set_to Swarm.EnableHolePunching false
set_to AutoNAT.ServiceMode '"disabled"'

# The gateway serves what is here, and fetches nothing; neither does anything else by HTTP.
set_to Gateway.NoFetch true
set_to Gateway.NoDNSLink true
set_to HTTPRetrieval.Enabled false
set_to Gateway.ExposeRoutingAPI false

# Its use is nobody's business, nor whether there is a newer version.
set_to Plugins.Plugins.telemetry.Config.Mode '"off"'
set_to Version.SwarmCheckEnabled false
