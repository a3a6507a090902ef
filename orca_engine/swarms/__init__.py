"""The swarm types: one file each, and the table that names them."""

from orca_engine.swarm_type import SwarmType
from orca_engine.swarms.auto import AUTO
from orca_engine.swarms.batched_grid import BATCHED_GRID
from orca_engine.swarms.builder import BUILDER
from orca_engine.swarms.concurrent import CONCURRENT
from orca_engine.swarms.council_judge import COUNCIL_JUDGE
from orca_engine.swarms.debate import DEBATE
from orca_engine.swarms.graph_workflow import GRAPH_WORKFLOW
from orca_engine.swarms.group_chat import GROUP_CHAT
from orca_engine.swarms.heavy import HEAVY
from orca_engine.swarms.hierarchical import HIERARCHICAL
from orca_engine.swarms.llm_council import LLM_COUNCIL
from orca_engine.swarms.majority import MAJORITY
from orca_engine.swarms.mixture import MIXTURE
from orca_engine.swarms.planner_worker import PLANNER_WORKER
from orca_engine.swarms.rearrange import REARRANGE
from orca_engine.swarms.round_robin import ROUND_ROBIN
from orca_engine.swarms.router import ROUTER
from orca_engine.swarms.sequential import SEQUENTIAL
from orca_engine.swarms.spreadsheet import SPREADSHEET

SWARMS: dict[str, SwarmType] = {
    "SequentialWorkflow": SEQUENTIAL,
    "ConcurrentWorkflow": CONCURRENT,
    "AgentRearrange": REARRANGE,
    "MixtureOfAgents": MIXTURE,
    "MajorityVoting": MAJORITY,
    "GroupChat": GROUP_CHAT,
    "MultiAgentRouter": ROUTER,
    "HierarchicalSwarm": HIERARCHICAL,
    "SpreadSheetSwarm": SPREADSHEET,
    "AutoSwarmBuilder": BUILDER,
    "auto": AUTO,
    "RoundRobin": ROUND_ROBIN,
    "DebateWithJudge": DEBATE,
    "LLMCouncil": LLM_COUNCIL,
    "CouncilAsAJudge": COUNCIL_JUDGE,
    "HeavySwarm": HEAVY,
    "PlannerWorkerSwarm": PLANNER_WORKER,
    "BatchedGridWorkflow": BATCHED_GRID,
    "GraphWorkflow": GRAPH_WORKFLOW,
}
