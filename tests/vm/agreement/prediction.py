# SPDX-License-Identifier: Apache-2.0
"""What the product predicts of a scenario: from its disk, its firmware variables, and what is plugged in.

Nothing here knows how the disk was made: it is read as `mantlet predict DISK --vars FILE` reads anybody's.
"""

from collections.abc import Mapping
from dataclasses import replace

from mantlet.edge import prediction
from mantlet.edge.prediction import Inputs, Keys
from mantlet.predict import predict_boot
from mantlet.predict.boot import Boot, FirmwareRecord, RegisterPrediction
from mantlet_measure.pcr import BANKS
from tests.vm.agreement.bench import Bench
from tests.vm.agreement.scenarios import Scenario

Predictions = Mapping[int, RegisterPrediction]


def boot_of(bench: Bench, scenario: Scenario) -> Boot:
    """Read what a scenario starts with."""
    return prediction.boot(
        Inputs(
            image=bench.disk(scenario),
            keys=Keys(store=bench.variables(scenario)),
            smbios_cmdline=scenario.smbios_cmdline,
            # A boot that ends where the kernel takes over has no user space; ours is read from the initrd.
            os_separator=None if scenario.whole else False,
            phases=None if scenario.whole else (),
            # Nothing in our root measures by itself; an initrd that holds nothing has no root behind it.
            root_units=(),
        )
    )


def predicted(bench: Bench, scenario: Scenario, firmware: FirmwareRecord) -> Predictions:
    """Predict the registers at the moment that the scenario ends."""
    return predict_boot(replace(boot_of(bench, scenario), firmware=firmware), banks=BANKS)
