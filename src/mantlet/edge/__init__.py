# SPDX-License-Identifier: Apache-2.0
"""All input and output of the tool: processes, files, tools, machines, network, terminal. Decides nothing."""
