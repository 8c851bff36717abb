// tools/check-system passes a sound system and finds whatever is planted in it.
'use strict';

const { execFileSync, spawnSync } = require('node:child_process');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const { contracts, cast, startChain, productionSettings, impersonate, MULTISIG, DEPLOYER, OFFICER, STRANGER } = require('./chain');

const role = (name) => cast('keccak', name);

test('a production system is sound, and anything planted in it is found', async (context) => {
  const chain = await startChain(context);
  const file = path.join(chain.folder, 'system.json');
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, ...(await productionSettings(chain)) };
  execFileSync(path.join(contracts, 'deploy.sh'), ['--production', chain.url, file], { env });
  const system = JSON.parse(fs.readFileSync(file, 'utf8'));
  const check = (systemFile = file) => spawnSync(path.join(contracts, 'tools/check-system'), [chain.url, systemFile], { encoding: 'utf8' });
  const clean = check();
  assert.strictEqual(clean.status, 0, clean.stdout + clean.stderr);

  /** Plants, expects to be found as `pattern`, and takes it out again. */
  async function planted(title, pattern, plant) {
    const before = await chain.rpc('evm_snapshot');
    await plant();
    const result = check();
    assert.strictEqual(result.status, 1, title);
    assert.match(result.stdout, pattern, title);
    await chain.rpc('evm_revert', before);
  }
  const grant = (target, name, account) => chain.send(MULTISIG, target, cast('calldata', 'grantRole(bytes32,address)', role(name), account));

  await planted('an executor', new RegExp(`MintEscrow EXECUTOR_ROLE: held by ${STRANGER}`, 'i'), () =>
    grant(system.escrow, 'EXECUTOR_ROLE', STRANGER));
  await planted('the deployer as officer', new RegExp(`ComplianceManager COMPLIANCE_OFFICER_ROLE: held by ${DEPLOYER}`, 'i'), () =>
    grant(system.complianceManager, 'COMPLIANCE_OFFICER_ROLE', DEPLOYER));
  await planted('a second writer of facts', /UserRegistry WRITER_ROLE: held by/, () =>
    grant(system.userRegistry, 'WRITER_ROLE', STRANGER));
  await planted('a pauser of the token', /CountryToken PAUSER_ROLE: held by/, () =>
    grant(system.countryToken, 'PAUSER_ROLE', STRANGER));
  await planted('a role nobody knows', /MintEscrow unknown role 0x.*: held by/, () =>
    grant(system.escrow, 'SURPRISE_ROLE', STRANGER));
  await planted('an officer lost', /COMPLIANCE_OFFICER_ROLE: not held by/, () =>
    chain.send(MULTISIG, system.complianceManager, cast('calldata', 'revokeRole(bytes32,address)', role('COMPLIANCE_OFFICER_ROLE'), OFFICER)));
  await planted('a handover', /CountryToken: a handover of the default admin to/, () =>
    chain.send(MULTISIG, system.countryToken, cast('calldata', 'beginDefaultAdminTransfer(address)', STRANGER)));
  await planted('a shorter delay', /MintEscrow: a change of the default admin's delay to 0 s/, () =>
    chain.send(MULTISIG, system.escrow, cast('calldata', 'changeDefaultAdminDelay(uint48)', '0')));
  await planted('another compliance source', /the escrow judges by/, () =>
    chain.send(MULTISIG, system.escrow, cast('calldata', 'setUserRegistry(address)', system.userRegistry)));
  await planted('a proposer', /TimelockController PROPOSER_ROLE: held by/, async () => {
    await impersonate(chain, system.timelock);
    await chain.send(system.timelock, system.timelock, cast('calldata', 'grantRole(bytes32,address)', role('PROPOSER_ROLE'), STRANGER));
  });
  await planted('a timelock without delay', /TimelockController: its delay is 0 s/, async () => {
    await impersonate(chain, system.timelock);
    await chain.send(system.timelock, system.timelock, cast('calldata', 'updateDelay(uint256)', '0'));
  });
  await planted('foreign code', /MintEscrow: the code at .* is not what this checkout builds/, async () => {
    const slot = '0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc';
    const word = await chain.rpc('eth_getStorageAt', system.escrow, slot, 'latest');
    const code = await chain.rpc('eth_getCode', `0x${word.slice(-40)}`, 'latest');
    await chain.rpc('anvil_setCode', `0x${word.slice(-40)}`, `${code}00`);
  });

  const late = path.join(chain.folder, 'late.json');
  fs.writeFileSync(late, JSON.stringify({ ...system, deployBlock: Number(await chain.rpc('eth_blockNumber')) + 1 }));
  assert.match(check(late).stdout, /deployBlock is too late/);
  assert.strictEqual(check().status, 0, 'nothing is left of what was planted');
});
