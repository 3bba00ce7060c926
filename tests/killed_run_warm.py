"""What the server of forked processes imports first; see `killed_run`."""

import killed_run

killed_run.warm_up()
