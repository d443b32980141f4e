"""Deployments of nxc as hosts for Execo. Importing this does not import execo, which forks at once.

Licensed under the GPL, version 3 or later, as execo is.
"""

from __future__ import annotations

from nxc_execo.deployment import Deployment, attach, deployed, give_back, start
from nxc_execo.upstream import get_oar_job_nodes_nxc

__all__ = ["Deployment", "attach", "deployed", "get_oar_job_nodes_nxc", "give_back", "start"]
