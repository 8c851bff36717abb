// Runs mutants in a copy of the project: each must turn its named test red.
'use strict';

const { spawn, spawnSync } = require('node:child_process');
const crypto = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { mutate } = require('./rows');

const COPIED = ['src', 'test', 'script', 'tools', 'foundry.toml'];
const TIMEOUT_MS = 1_800_000;
// The contract whose tests weigh gas against the escrow's allowances, which hold for optimised code.
const weighsGas = ({ killer }) => killer.startsWith('EscrowStarvingTest.');

const socketOf = (folder) => path.join(folder, 'solc.socket');

// Tests reach contracts by name, so a mutant recompiles only what it changed.
const environment = (folder, optimizer) => ({
  ...process.env,
  SOLC_SOCKET: socketOf(folder),
  FOUNDRY_BUILD_INFO: 'false',
  FOUNDRY_DYNAMIC_TEST_LINKING: 'true',
  FOUNDRY_OPTIMIZER: String(optimizer),
  FOUNDRY_INVARIANT_RUNS: '6',
  FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT: '0',
  FOUNDRY_FUZZ_RUNS: '64',
});

function test(folder, optimizer, killers) {
  const names = killers.map((killer) => killer.split('.'));
  const either = (at) => [...new Set(names.map((name) => name[at]))].join('|');
  return spawnSync(
    path.join(folder, 'tools/foundry'),
    ['forge', 'test', '--match-contract', `^(${either(0)})$`, '--match-test', `^(${either(1)})\\(`],
    { cwd: folder, env: environment(folder, optimizer), encoding: 'utf8', timeout: TIMEOUT_MS },
  );
}

/** The named test must be among the failing ones; a build that fails proves nothing. */
function verdict(result, killer) {
  const name = killer.split('.')[1];
  if (new RegExp(`\\[FAIL[\\s\\S]*? ${name}\\(`).test(result.stdout ?? '')) return 'killed';
  return result.status === 0 ? 'SURVIVED' : 'BROKEN';
}

function copyProject(root, folder) {
  for (const entry of COPIED) fs.cpSync(path.join(root, entry), path.join(folder, entry), { recursive: true });
  // Proofs are not run by forge; tools/prove has a list of its own.
  fs.rmSync(path.join(folder, 'test/symbolic'), { recursive: true, force: true });
  fs.symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
  fs.copyFileSync(path.join(__dirname, 'solc-client'), path.join(folder, 'tools/solc'));
}

async function startCompiler(folder) {
  const compiler = spawn(process.execPath, [path.join(__dirname, 'solc-server.js'), socketOf(folder)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const failed = once(compiler, 'exit').then(() => { throw new Error('the compiler did not start'); });
  await Promise.race([once(compiler.stdout, 'data'), failed]);
  failed.catch(() => {});
  return compiler;
}

function expectGreen(folder, optimizer, rows) {
  const killers = rows.map(({ killer }) => killer);
  const clean = test(folder, optimizer, killers);
  if (clean.status !== 0) throw new Error(`the tests fail without a mutant:\n${clean.stdout}${clean.stderr}`);
  for (const killer of killers) {
    if (!clean.stdout.includes(`[PASS] ${killer.split('.')[1]}(`)) throw new Error(`no such test: ${killer}`);
  }
}

/** { outcome, output } of one mutant in a copy that has been built. */
function runOne(folder, optimizer, units, row) {
  const { file, text } = mutate(units, row);
  const target = path.join(folder, file);
  fs.writeFileSync(target, text);
  const result = test(folder, optimizer, [row.killer]);
  fs.writeFileSync(target, units[file].source);
  return { outcome: verdict(result, row.killer), output: `${result.stdout}${result.stderr}` };
}

/** Runs the rows, those that weigh gas last and optimised, and hands each result to `report`. */
async function runAll(root, units, rows, report) {
  for (const optimizer of [false, true]) {
    const group = rows.filter((row) => weighsGas(row) === optimizer);
    if (group.length === 0) continue;
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mutants-'));
    copyProject(root, folder);
    const compiler = await startCompiler(folder);
    try {
      expectGreen(folder, optimizer, group);
      for (const row of group) report(row, runOne(folder, optimizer, units, row));
    } finally {
      compiler.kill();
      fs.rmSync(folder, { recursive: true });
    }
  }
}

/** Changes with anything a mutant's result depends on, its own row included. */
function fingerprints(root) {
  const hash = crypto.createHash('sha256');
  for (const entry of ['foundry.toml', 'package-lock.json', 'script', 'src', 'test', 'tools/mutation']) {
    const whole = path.join(root, entry);
    const files = fs.statSync(whole).isFile() ? [''] : fs.readdirSync(whole, { recursive: true }).sort();
    for (const file of files.map((name) => path.join(whole, name))) {
      if (fs.statSync(file).isFile()) hash.update(file.slice(root.length)).update(fs.readFileSync(file));
    }
  }
  const sources = hash.digest('hex');
  return (row) => crypto.createHash('sha256').update(sources).update(JSON.stringify(row)).digest('hex');
}

/** What earlier runs found, kept in cache/: one line a mutant, so that runs may be cut short or side by side. */
class Journal {
  constructor(root) {
    this.file = path.join(root, 'cache', 'mutants.jsonl');
    this.fingerprint = fingerprints(root);
  }

  killed() {
    if (!fs.existsSync(this.file)) return () => false;
    const lines = fs.readFileSync(this.file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
    const killed = new Set(lines.filter(({ outcome }) => outcome === 'killed').map(({ key }) => key));
    return (row) => killed.has(this.fingerprint(row));
  }

  add(row, outcome) {
    fs.mkdirSync(path.dirname(this.file), { recursive: true });
    fs.appendFileSync(this.file, `${JSON.stringify({ key: this.fingerprint(row), lost: row.lost, outcome })}\n`);
  }
}

module.exports = { runAll, Journal };
