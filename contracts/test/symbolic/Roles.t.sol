// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ComplianceManager} from "../../src/ComplianceManager.sol";
import {CountryToken} from "../../src/CountryToken.sol";
import {UserRegistry} from "../../src/UserRegistry.sol";
import {IMintEscrow} from "../../src/interfaces/IMintEscrow.sol";
import {vm} from "../utils/Test.sol";
import {PlainCoin, SymbolicSystem, svm} from "./SymbolicSystem.sol";

bytes32 constant IMPLEMENTATION = bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1);

/// @dev Makes one call of any function, with any arguments, by any caller: each effect implies who called.
/// Callers are split by role only to spare the solver time. An upgrader may do anything, by new code.
contract EscrowRoleProofs is SymbolicSystem {
    bytes32 private constant STORAGE = keccak256(
        abi.encode(uint256(keccak256("fiatrails.storage.MintEscrow")) - 1)
    ) & ~bytes32(uint256(0xff));
    uint256 private constant TOTALS = 5;
    bytes32 private constant ADMIN_ROLE = keccak256("ADMIN_ROLE");
    bytes32 private constant EXECUTOR_ROLE = keccak256("EXECUTOR_ROLE");
    bytes32 private constant UPGRADER_ROLE = keccak256("UPGRADER_ROLE");
    bytes32 private constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    bytes32 private constant UNPAUSER_ROLE = keccak256("UNPAUSER_ROLE");
    /// @dev Stands for everybody who holds no role.
    address private constant NEWCOMER = address(0xD1);

    bytes32 private intentId;

    function setUp() public override {
        super.setUp();
        intentId = _deposit(USER, AMOUNT, "A");
        // This surplus may be swept.
        coin.fund(address(escrow), AMOUNT);
    }

    /// @custom:halmos --default-array-lengths 1 --default-bytes-lengths 0
    function check_a_stranger_has_no_effect(address caller) public {
        vm.assume(caller != ADMIN && caller != UPGRADER && caller != EXECUTOR);
        vm.assume(caller != PAUSER && caller != UNPAUSER);
        // The escrow calls itself only from batches, which need EXECUTOR_ROLE.
        vm.assume(caller != address(escrow));
        _callAnything(caller);
    }

    /// @custom:halmos --default-array-lengths 1 --default-bytes-lengths 0
    function check_an_executor_moves_intents_and_nothing_else() public {
        _callAnything(EXECUTOR);
    }

    /// @custom:halmos --default-array-lengths 1 --default-bytes-lengths 0
    function check_an_admin_sets_parameters_and_roles_and_nothing_else() public {
        _callAnything(ADMIN);
    }

    /// @custom:halmos --default-array-lengths 1 --default-bytes-lengths 0
    function check_a_pauser_stops_and_nothing_else() public {
        _callAnything(PAUSER);
    }

    function check_only_an_unpauser_starts_again(address caller) public {
        vm.prank(PAUSER);
        escrow.pause();
        vm.prank(caller);
        try escrow.unpause() {
            assert(caller == UNPAUSER);
        } catch {}
    }

    function _callAnything(address caller) private {
        bytes32[8] memory settings = _settings();
        bytes32 code = vm.load(address(escrow), IMPLEMENTATION);
        uint256 held = coin.balanceOf(address(escrow));

        vm.prank(caller);
        (bool success,) = address(escrow).call(svm.createCalldata("MintEscrow"));
        if (!success) return;

        assert(vm.load(address(escrow), IMPLEMENTATION) == code);
        if (escrow.paused()) assert(caller == PAUSER);
        if (escrow.getIntentStatus(intentId) != IMintEscrow.IntentStatus.Pending) assert(caller == EXECUTOR);
        if (token.totalSupply() != 0) assert(caller == EXECUTOR);
        uint256 left = coin.balanceOf(address(escrow));
        if (left < held) assert(caller == EXECUTOR || caller == ADMIN);
        // An admin sweeps what nobody is owed, and no more.
        if (caller == ADMIN) assert(left >= AMOUNT);
        if (!_same(_settings(), settings)) assert(caller == ADMIN);
        if (escrow.isAllowedDepositor(NEWCOMER)) assert(caller == ADMIN);
        if (!escrow.isAllowedDepositor(TREASURY)) assert(caller == ADMIN);
        if (_holdsAnything(NEWCOMER)) assert(caller == ADMIN);
        assert(!escrow.hasRole(UPGRADER_ROLE, NEWCOMER));
        // Other accounts can only renounce their own roles.
        if (!escrow.hasRole(EXECUTOR_ROLE, EXECUTOR)) assert(caller == ADMIN || caller == EXECUTOR);
        if (!escrow.hasRole(ADMIN_ROLE, ADMIN)) assert(caller == ADMIN);
    }

    /// @dev The parameters are the first slots of the escrow's namespace; reading them as storage spares the
    /// solver nine calls a path. The totals among them are no parameters.
    function _settings() private view returns (bytes32[8] memory slots) {
        for (uint256 i = 0; i < 8; ++i) {
            if (i != TOTALS) slots[i] = vm.load(address(escrow), bytes32(uint256(STORAGE) + i));
        }
    }

    function _same(bytes32[8] memory left, bytes32[8] memory right) private pure returns (bool) {
        bytes32 difference;
        for (uint256 i = 0; i < 8; ++i) {
            difference |= left[i] ^ right[i];
        }
        return difference == 0;
    }

    function _holdsAnything(address account) private view returns (bool) {
        return escrow.hasRole(0, account) || escrow.hasRole(ADMIN_ROLE, account)
            || escrow.hasRole(EXECUTOR_ROLE, account) || escrow.hasRole(PAUSER_ROLE, account)
            || escrow.hasRole(UNPAUSER_ROLE, account);
    }
}

/// @dev Proves the same for the registry, the manager and the country token.
contract OtherRoleProofs is SymbolicSystem {
    address private constant WRITER = address(0xC1);
    address private constant OFFICER = address(0xC2);

    /// @custom:halmos --default-bytes-lengths 0
    function check_facts_and_policy_of_the_registry_need_their_role(address caller) public {
        bytes memory init =
            abi.encodeCall(UserRegistry.initialize, (ADMIN, 2 days, UPGRADER, WRITER, 91, true, 0));
        UserRegistry registry = UserRegistry(address(new ERC1967Proxy(address(new UserRegistry()), init)));
        address anybody = svm.createAddress("anybody");
        bytes32 code = vm.load(address(registry), IMPLEMENTATION);

        vm.assume(caller != UPGRADER);
        vm.prank(caller);
        (bool success,) = address(registry).call(svm.createCalldata("UserRegistry"));
        if (!success) return;

        assert(vm.load(address(registry), IMPLEMENTATION) == code);
        if (registry.isKnown(anybody)) assert(caller == WRITER);
        bool same = registry.maxRiskScore() == 91 && registry.attestationRequired()
            && registry.minAttestationAge() == 0;
        assert(same || caller == ADMIN);
    }

    /// @custom:halmos --default-bytes-lengths 0
    function check_facts_pass_the_manager_from_officers_only(address caller) public {
        bytes memory init =
            abi.encodeCall(UserRegistry.initialize, (ADMIN, 2 days, UPGRADER, address(this), 91, true, 0));
        UserRegistry registry = UserRegistry(address(new ERC1967Proxy(address(new UserRegistry()), init)));
        ComplianceManager manager = _manager(address(registry));
        bytes32 writer = registry.WRITER_ROLE();
        vm.prank(ADMIN);
        registry.grantRole(writer, address(manager));
        address anybody = svm.createAddress("anybody");
        bytes32 code = vm.load(address(manager), IMPLEMENTATION);

        vm.assume(caller != UPGRADER);
        vm.prank(caller);
        (bool success,) = address(manager).call(svm.createCalldata("ComplianceManager"));
        if (!success) return;

        assert(vm.load(address(manager), IMPLEMENTATION) == code);
        if (registry.isKnown(anybody)) assert(caller == OFFICER);
        if (manager.paused()) assert(caller == PAUSER);
    }

    /// @custom:halmos --default-bytes-lengths 0
    function check_only_the_minter_mints(address caller) public {
        CountryToken kes =
            new CountryToken("Kenya Shilling Token", "KES", address(escrow), ADMIN, 2 days, PAUSER, UNPAUSER);
        vm.prank(caller);
        (bool success,) = address(kes).call(svm.createCalldata("CountryToken"));
        if (!success) return;
        if (kes.totalSupply() != 0) assert(caller == address(escrow));
        assert(kes.minter() == address(escrow));
        if (kes.paused()) assert(caller == PAUSER);
    }

    /// @dev Nothing is deposited here, since any deposit makes the change revert.
    function check_only_an_upgrader_changes_the_backing(address caller) public {
        address next = address(new PlainCoin());
        vm.prank(caller);
        try escrow.setStablecoin(next) {
            assert(caller == UPGRADER);
        } catch {
            assert(caller != UPGRADER);
        }
    }

    function _manager(address registry) private returns (ComplianceManager) {
        address[] memory officers = new address[](1);
        officers[0] = OFFICER;
        bytes memory init = abi.encodeCall(
            ComplianceManager.initialize, (ADMIN, 2 days, UPGRADER, PAUSER, UNPAUSER, registry, officers)
        );
        return ComplianceManager(address(new ERC1967Proxy(address(new ComplianceManager()), init)));
    }
}
