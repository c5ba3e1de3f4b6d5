/**
 * Java's .properties files, whole: comments with # and !, `=`, `:` or white space between key and value, escapes, \uXXXX,
 * lines continued by a backslash. Knows nothing of what the keys mean.
 */

/** A later value of the same key replaces an earlier one, as in Java. Throws SyntaxError on a bad \u escape. */
export function parseProperties(text: string): Map<string, string> {
  const properties = new Map<string, string>();
  for (const line of logicalLines(text)) {
    let at = 0;
    while (at < line.length && !isSeparator(line[at]!)) at += line[at] === '\\' ? 2 : 1;
    const key = withoutEscapes(line.slice(0, at));
    while (at < line.length && isBlank(line[at]!)) at += 1;
    if (line[at] === '=' || line[at] === ':') at += 1;
    while (at < line.length && isBlank(line[at]!)) at += 1;
    properties.set(key, withoutEscapes(line.slice(at)));
  }
  return properties;
}

/** Lines without comments and blank ones, continued lines joined, leading blanks gone. */
function logicalLines(text: string): string[] {
  const lines: string[] = [];
  let joined: string | undefined;
  for (const raw of text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)) {
    const line = raw.replace(/^[ \t\f]+/, '');
    if (joined === undefined && (line === '' || line[0] === '#' || line[0] === '!')) continue;
    const whole: string = (joined ?? '') + line;
    const backslashes = /\\*$/.exec(line)![0].length;
    if (backslashes % 2 === 1) joined = whole.slice(0, -1);
    else {
      lines.push(whole);
      joined = undefined;
    }
  }
  if (joined !== undefined) lines.push(joined);
  return lines;
}

function isBlank(character: string): boolean {
  return character === ' ' || character === '\t' || character === '\f';
}

function isSeparator(character: string): boolean {
  return character === '=' || character === ':' || isBlank(character);
}

const escapes: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' };

function withoutEscapes(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(
    /\\(?:u([\s\S]{0,4})|([\s\S])|$)/g,
    (_whole, hex: string | undefined, character: string | undefined) => {
      if (hex !== undefined) {
        if (!/^[0-9a-fA-F]{4}$/.test(hex)) throw new SyntaxError(`malformed \\u escape '\\u${hex}'`);
        return String.fromCharCode(Number.parseInt(hex, 16));
      }
      return character === undefined ? '' : (escapes[character] ?? character);
    },
  );
}
