// A private anvil, and who is who on it.
'use strict';

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const contracts = path.join(__dirname, '../..');
const cast = (...args) => execFileSync(path.join(contracts, 'tools/foundry'), ['cast', ...args], { encoding: 'utf8' }).trim();

const MULTISIG = '0x00000000000000000000000000000000000A1111';
// The first account of the well-known test mnemonic.
const DEPLOYER_KEY = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80';
const DEPLOYER = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';
const PAUSER = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
const OFFICER = '0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC';
const EXECUTOR = '0x90F79bf6EB2c4f870365E785982E1f101E93b906';
const TREASURY = '0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65';
const STRANGER = '0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc';

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Ends with the test. */
async function startChain(context) {
  const url = `http://127.0.0.1:${await freePort()}`;
  const anvil = spawn(path.join(contracts, 'tools/foundry'), ['anvil', '--port', new URL(url).port, '--chain-id', '31430', '-q'], {
    stdio: 'ignore',
  });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chain-'));
  context.after(() => {
    anvil.kill();
    fs.rmSync(folder, { recursive: true });
  });
  let nextId = 1;
  async function rpc(method, ...params) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: nextId++, method, params });
    const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const { result, error } = await response.json();
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }
  for (let attempt = 0; ; attempt += 1) {
    try {
      await rpc('eth_chainId');
      break;
    } catch (cause) {
      if (attempt === 400) throw cause;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  /** Sends from any account, contracts included: anvil does not ask for their keys. */
  async function send(from, to, data) {
    const hash = await rpc('eth_sendTransaction', { from, to, data, gas: '0xb71b00' });
    let receipt = await rpc('eth_getTransactionReceipt', hash);
    for (let attempt = 0; receipt === null && attempt < 2000; attempt += 1) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      receipt = await rpc('eth_getTransactionReceipt', hash);
    }
    if (receipt.status !== '0x1') throw new Error(`reverted: ${from} to ${to}`);
    return receipt;
  }
  const call = (to, signature, ...args) => cast('call', to, signature, ...args, '--rpc-url', url);
  return { url, folder, rpc, send, call };
}

async function impersonate({ rpc }, account) {
  await rpc('anvil_setBalance', account, '0xde0b6b3a7640000');
  await rpc('anvil_impersonateAccount', account);
}

/** The production script's settings. Any contract is as good as a multisig: all the system asks of one is code. */
async function productionSettings(chain) {
  await chain.rpc('anvil_setCode', MULTISIG, '0x00');
  await impersonate(chain, MULTISIG);
  const { bytecode } = JSON.parse(fs.readFileSync(path.join(contracts, 'out/USDStablecoin.sol/USDStablecoin.json'), 'utf8'));
  const args = cast('abi-encode', 'f(string,string,address)', 'Dai Stablecoin', 'DAI', STRANGER);
  const { contractAddress: STABLECOIN } = await chain.send(STRANGER, undefined, bytecode.object + args.slice(2));
  return { DEPLOYER_KEY, MULTISIG, PAUSER, TREASURY, EXECUTOR, STABLECOIN, COMPLIANCE_OFFICER: OFFICER };
}

module.exports = {
  contracts, cast, startChain, productionSettings, impersonate,
  MULTISIG, DEPLOYER_KEY, DEPLOYER, PAUSER, OFFICER, EXECUTOR, TREASURY, STRANGER,
};
