"""vm-ramdisk and vm keep the contract of a flavour."""

from __future__ import annotations

import pytest

from tests.basic_contract import BasicContract


class VmContract(BasicContract):
    """Two machines, with the images that all live tests share."""

    __test__ = False
    plugin = "nxc_vm.plugin"
    flavour = "vm-ramdisk"
    settle = 60.0
    notice = 60.0
    stops_within = 60.0


@pytest.mark.live
@pytest.mark.timeout(1800)
class TestVmRamdisk(VmContract):
    """What costs no boot, or one; the plug is pulled without waiting for machines to come up."""

    # These boot again and again, and are left to the full matrix.
    test_ready_is_proved = None  # type: ignore[assignment]
    test_files_arrive = None  # type: ignore[assignment]
    test_two_deployments_do_not_meet = None  # type: ignore[assignment]
    test_what_is_saved_is_enough = None  # type: ignore[assignment]
    test_a_crashed_start_is_gone_on_with = None  # type: ignore[assignment]
    test_released_and_taken_down_twice = None  # type: ignore[assignment]
    test_secrets_stay_secret = None  # type: ignore[assignment]
    test_power = None  # type: ignore[assignment]
    test_console = None  # type: ignore[assignment]
    test_links = None  # type: ignore[assignment]


@pytest.mark.full
@pytest.mark.timeout(3600)
class TestVmRamdiskInFull(VmContract):
    """Every test."""

    resumes = 2


class VmDiskContract(VmContract):
    """The same machines with Debian's layers as their disks."""

    __test__ = False
    flavour = "vm"


@pytest.mark.live
@pytest.mark.timeout(1800)
class TestVm(VmDiskContract):
    """What boots nothing: the rest of the driver is that of vm-ramdisk, and one example runs on vm."""

    # These boot, and are left to the full matrix.
    test_up_run_down = None  # type: ignore[assignment]
    test_ready_is_proved = None  # type: ignore[assignment]
    test_files_arrive = None  # type: ignore[assignment]
    test_two_deployments_do_not_meet = None  # type: ignore[assignment]
    test_what_is_saved_is_enough = None  # type: ignore[assignment]
    test_a_crash_around_any_claim_leaks_nothing = None  # type: ignore[assignment]
    test_a_crashed_start_is_gone_on_with = None  # type: ignore[assignment]
    test_released_and_taken_down_twice = None  # type: ignore[assignment]
    test_a_dead_node_is_reported = None  # type: ignore[assignment]
    test_secrets_stay_secret = None  # type: ignore[assignment]
    test_power = None  # type: ignore[assignment]
    test_console = None  # type: ignore[assignment]
    test_links = None  # type: ignore[assignment]


@pytest.mark.full
@pytest.mark.timeout(3600)
class TestVmInFull(VmDiskContract):
    """Every test."""

    resumes = 2
