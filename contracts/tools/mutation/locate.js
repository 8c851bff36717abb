// Finds the node that a selector names: { contract, function, node, of, ordinal, argument }.
//   node      the compiler's name of the node's type
//   of        a name the node must bear or mention: an error, event, role, function, modifier, struct member, constant
//   ordinal   which of several such nodes in that function, in the order of the source, from 1
//   argument  the node is that argument of the call or modifier found
'use strict';

const { contractsNamed, descendants, functionsNamed, localNames } = require('./ast');

const only = (found, what) => {
  if (found.length !== 1) throw new Error(`${found.length === 0 ? 'there is no' : `there are ${found.length} of`} ${what}`);
  return found[0];
};

/** The function, modifier or, when no function is named, the contract's constant that the selector is about. */
function scopeOf(units, selector) {
  const { file, node: contract } = only(contractsNamed(units, selector.contract), `contract ${selector.contract}`);
  if (selector.function !== undefined) {
    const what = `function ${selector.contract}.${selector.function}`;
    return { file, scope: only(functionsNamed(contract, selector.function), what) };
  }
  const constants = contract.nodes.filter(
    (node) => node.nodeType === 'VariableDeclaration' && node.constant && node.name === selector.of,
  );
  return { file, scope: only(constants, `constant ${selector.contract}.${selector.of}`) };
}

const nameOfCallee = (callee) => callee.memberName ?? callee.typeName?.name ?? callee.name;

/** What nodes of some types are called; the others are known by what they mention. */
function ownName(node) {
  switch (node.nodeType) {
    case 'FunctionCall': return nameOfCallee(node.expression);
    case 'ModifierInvocation': return node.modifierName.name;
    case 'EmitStatement': return nameOfCallee(node.eventCall.expression);
    case 'RevertStatement': return nameOfCallee(node.errorCall.expression);
    case 'VariableDeclaration': return node.name;
    default: return undefined;
  }
}

function mentions(node, name, locals) {
  return descendants(node).some(
    (part) =>
      (part.nodeType === 'MemberAccess' && part.memberName === name) ||
      (['Identifier', 'IdentifierPath', 'YulIdentifier'].includes(part.nodeType) && part.name === name && !locals.has(name)),
  );
}

/** The nodes of a type that bear the name or, among nodes inside each other, the innermost that mention it. */
function called(nodes, name, locals) {
  if (nodes.some((node) => ownName(node) !== undefined)) return nodes.filter((node) => ownName(node) === name);
  if (nodes.some(({ nodeType }) => nodeType === 'MemberAccess')) return nodes.filter(({ memberName }) => memberName === name);
  const mentioning = nodes.filter((node) => mentions(node, name, locals));
  return mentioning.filter((node) => !mentioning.some((other) => other !== node && descendants(node).includes(other)));
}

/** The one node; `suits` is what the operator asks of it besides its type. */
function locate(units, selector, suits = () => true) {
  const { file, scope } = scopeOf(units, selector);
  const { node: type, of: name, ordinal } = selector;
  const parts = descendants(scope);
  const all = parts.filter((part) => part.nodeType === type && suits(part, parts));
  const found = name === undefined ? all : called(all, name, localNames(scope));
  const what = `${type}${name === undefined ? '' : ` of ${name}`} in ${selector.contract}.${selector.function ?? selector.of}`;
  if (ordinal === undefined && found.length > 1) throw new Error(`there are ${found.length} of ${what}: give an ordinal`);
  if (ordinal !== undefined && found.length === 1) throw new Error(`there is one ${what}: it needs no ordinal`);
  const node = found[(ordinal ?? 1) - 1];
  if (node === undefined) throw new Error(`there is no ${what}${ordinal === undefined ? '' : ` with ordinal ${ordinal}`}`);
  return { file, scope, node: argumentOf(node, selector.argument, what), call: node, source: units[file].source };
}

function argumentOf(node, argument, what) {
  if (argument === undefined) return node;
  const found = (node.arguments ?? [])[argument - 1];
  if (found === undefined) throw new Error(`there is no argument ${argument} of the ${what}`);
  return found;
}

module.exports = { locate };
