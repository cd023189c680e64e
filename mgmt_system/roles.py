"""What each call of the management system needs, in one place: REST, the dashboard and the docs go by it."""

from __future__ import annotations

from catenary.roles import Role

ROLES = {
    "list_chains": Role.VIEWER,
    "show_chain": Role.VIEWER,
    "list_operations": Role.VIEWER,
    "show_operation": Role.VIEWER,
    "read_history": Role.VIEWER,
    "status": Role.VIEWER,
    "show_session": Role.VIEWER,
    "list_sessions": Role.VIEWER,
    "show_caller": Role.VIEWER,
    "health": Role.VIEWER,
    "show_config": Role.VIEWER,
    "plan_config": Role.VIEWER,
    "list_services": Role.VIEWER,
    "show_service": Role.VIEWER,
    "read_traffic": Role.VIEWER,
    "explain_session": Role.VIEWER,
    "list_autoscalers": Role.VIEWER,
    "set_autoscale_mode": Role.OPERATOR,
    "promote_canary": Role.OPERATOR,
    "add_chain": Role.OPERATOR,
    "remove_chain": Role.OPERATOR,
    "cancel_removal": Role.OPERATOR,
    "cordon_chain": Role.OPERATOR,
    "uncordon_chain": Role.OPERATOR,
    "rebalance": Role.OPERATOR,
    "insert_pair": Role.OPERATOR,
    "end_session": Role.OPERATOR,
    # What users send and get is in it.
    "capture": Role.OPERATOR,
    # The whole network is in it: switches, load balancers and their addresses.
    "apply_config": Role.ADMIN,
    # All that is stored, in one file.
    "backup": Role.ADMIN,
}
