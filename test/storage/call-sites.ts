/** Every place in the embedded engine that makes a file call, found by the types: calls of methods of FileSystem and OpenFile. */
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';

export interface CallSite {
  /** `file.ts:line`, from the engine's folder. */
  readonly site: string;
  readonly call: string;
  /** `file.ts function call`: stays the same when lines move. */
  readonly name: string;
}

const interfaces = new Set(['FileSystem', 'OpenFile']);

/** They hand calls on and make none of their own, but for the one on the real disk. */
const passers = new Set(['strict-file-system.ts', 'pinning-file-system.ts', 'node-file-system.ts']);

export function callSites(root: string): readonly CallSite[] {
  const folder = join(root, 'src/storage/embedded');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
  const program = ts.createProgram(files, {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    allowImportingTsExtensions: true,
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    types: [],
  });
  const checker = program.getTypeChecker();
  const found: CallSite[] = [];
  const visit = (node: ts.Node, source: ts.SourceFile): void => {
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      const declared = checker.getSymbolAtLocation(node.expression.name)?.declarations?.[0]?.parent;
      const owner = declared === undefined ? undefined : ownerOf(declared);
      // A pin is kept in memory.
      if (owner !== undefined && node.expression.name.text !== 'pin') {
        const { line } = source.getLineAndCharacterOfPosition(node.expression.name.getStart(source));
        const file = relative(folder, source.fileName);
        const call = `${owner}.${node.expression.name.text}`;
        found.push({ site: `${file}:${line + 1}`, call, name: `${file} ${functionAround(node)} ${call}` });
      }
    }
    ts.forEachChild(node, (child) => visit(child, source));
  };
  for (const file of files) {
    const name = relative(folder, file);
    if (passers.has(name)) continue;
    const source = program.getSourceFile(file);
    if (source !== undefined) visit(source, source);
  }
  return found;
}

function functionAround(node: ts.Node): string {
  for (let at: ts.Node | undefined = node; at !== undefined; at = at.parent) {
    if ((ts.isMethodDeclaration(at) || ts.isFunctionDeclaration(at)) && at.name !== undefined)
      return at.name.getText();
    if (ts.isConstructorDeclaration(at)) return 'constructor';
  }
  return '';
}

/** The interface that a method is of, or that the class of it implements. */
function ownerOf(declared: ts.Node): string | undefined {
  if (ts.isInterfaceDeclaration(declared)) {
    return interfaces.has(declared.name.text) ? declared.name.text : undefined;
  }
  return ts.isClassDeclaration(declared) && declared.name?.text.endsWith('FileSystem') === true
    ? 'FileSystem'
    : undefined;
}
