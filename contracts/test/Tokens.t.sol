// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {CountryToken} from "../src/CountryToken.sol";
import {ICountryToken} from "../src/interfaces/ICountryToken.sol";
import {EscrowFixture} from "./utils/EscrowFixture.sol";
import {vm} from "./utils/Test.sol";

contract TokensTest is EscrowFixture {
    function test_country_token_is_what_policy_says() public view {
        vm.assertEq(kes.name(), "Kenya Shilling Token");
        vm.assertEq(kes.symbol(), "KES");
        vm.assertEq(kes.decimals(), 18);
        vm.assertEq(kes.minter(), address(escrow));
        vm.assertEq(dai.name(), "Dai Stablecoin");
        vm.assertEq(dai.symbol(), "DAI");
        vm.assertEq(dai.decimals(), 18);
    }

    function test_only_the_escrow_mints() public {
        address[6] memory callers = [admin, upgrader, pauser, executor, treasury, stranger];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            vm.expectRevert(ICountryToken.NotMinter.selector);
            kes.mint(user, 1);
        }
        vm.prank(address(escrow));
        kes.mint(user, 7);
        vm.assertEq(kes.balanceOf(user), 7);
        vm.assertEq(kes.totalSupply(), 7);
    }

    function test_paused_nothing_moves() public {
        vm.prank(address(escrow));
        kes.mint(user, 7);
        vm.prank(pauser);
        kes.pause();
        vm.assertTrue(kes.paused());
        vm.prank(address(escrow));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        kes.mint(user, 1);
        vm.prank(user);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        kes.transfer(stranger, 1);
        vm.prank(unpauser);
        kes.unpause();
        vm.prank(user);
        kes.transfer(stranger, 1);
        vm.assertEq(kes.balanceOf(stranger), 1);
    }

    function test_pauser_and_unpauser_are_different_people() public {
        bytes32 pauserRole = kes.PAUSER_ROLE();
        bytes32 unpauserRole = kes.UNPAUSER_ROLE();
        bytes4 refused = IAccessControl.AccessControlUnauthorizedAccount.selector;
        vm.prank(unpauser);
        vm.expectRevert(abi.encodeWithSelector(refused, unpauser, pauserRole));
        kes.pause();
        vm.prank(pauser);
        vm.expectRevert(abi.encodeWithSelector(refused, pauser, unpauserRole));
        kes.unpause();
    }

    function test_a_minter_is_needed() public {
        vm.expectRevert(ICountryToken.InvalidMinter.selector);
        new CountryToken("Kenya Shilling Token", "KES", address(0), admin, 0, pauser, unpauser);
    }

    function test_permit_allows_by_signature() public {
        uint256 key = uint256(keccak256("user"));
        bytes32 permit =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 digest = keccak256(
            abi.encodePacked(
                "\x19\x01", kes.DOMAIN_SEPARATOR(), keccak256(abi.encode(permit, user, stranger, 5, 0, START))
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        kes.permit(user, stranger, 5, START, v, r, s);
        vm.assertEq(kes.allowance(user, stranger), 5);
    }

    function test_only_its_owner_mints_the_development_coin() public {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        dai.mint(stranger, 1);
    }
}
