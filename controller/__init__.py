"""The OpenFlow controller: it turns "this tag pair crosses these NFs" into flow rules and keeps them there.

What may not happen here: only `app` names os-ken, and only `rest` names FastAPI. `network`, `pipeline`,
`steering`, `edge` and `discovery` are pure: no I/O, no clock, no framework. The shells are `fabric` (threads:
what is connected, and what each switch should hold), `conductor` (the calls of the REST interface),
`statefile`, `config`, `app`, `rest` and `cli`.
"""
