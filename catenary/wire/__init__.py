"""What goes over the wire: the pydantic models of all three REST services. Those of the file: `config`.

The services never import each other; this package is what they agree on. Unknown keys are refused everywhere.
Times are seconds, sizes bytes, moments seconds since the epoch (UTC). All models are names of the package:
who uses one need not know whose it is.
"""

from catenary.wire.balancer import *
from catenary.wire.common import *
from catenary.wire.controller import *
from catenary.wire.health import *
from catenary.wire.management import *
from catenary.wire.peer import *
from catenary.wire.sessions import *
