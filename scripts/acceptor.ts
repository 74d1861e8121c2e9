// From a valibot schema to a function that says whether it accepts a value that came from JSON, without valibot. It may say
// no to what the schema accepts, as to an object whose unknown keys the schema would drop; it never says yes to another.
import type * as v from "valibot";

type Schema = v.GenericSchema & Readonly<Record<string, unknown>>;
type Action = { readonly kind: string; readonly type: string } & Readonly<Record<string, unknown>>;

const OBJECTS: ReadonlySet<string> = new Set(["object", "strict_object", "loose_object"]);

/** Writes the module. Throws for a schema or an action that it does not know. */
class Acceptor {
  readonly #functions = new Map<string, string>();
  readonly #patterns = new Map<string, string>();
  readonly #checks = new Set<string>();
  readonly defaults: Record<string, unknown> = {};

  /** A condition on the variable `x`. */
  condition(schema: Schema, x: string): string {
    const [root, ...actions] = (schema["pipe"] ?? [schema]) as [Schema, ...Action[]];
    const parts = [this.#root(root, x), ...actions.filter((a) => a.kind !== "metadata").map((a) => this.#action(a, x))];
    return parts.join(" && ");
  }

  #root(schema: Schema, x: string): string {
    const { type } = schema;
    if (schema["pipe"] !== undefined) return this.condition(schema, x);
    if (OBJECTS.has(type)) return `${this.#object(schema)}(${x})`;
    switch (type) {
      case "string":
      case "number":
      case "boolean":
        return `typeof ${x} === "${type}"`;
      case "literal":
        return `${x} === ${JSON.stringify(schema["literal"])}`;
      case "picklist":
        return `(${(schema["options"] as unknown[]).map((o) => `${x} === ${JSON.stringify(o)}`).join(" || ")})`;
      case "union":
        return `(${(schema["options"] as Schema[]).map((o) => `(${this.condition(o, x)})`).join(" || ")})`;
      case "array":
        return `every(${x}, (${x}_) => ${this.condition(schema["item"] as Schema, `${x}_`)})`;
      default:
        throw new Error(`no acceptor for a schema of type ${type}`);
    }
  }

  #action(action: Action, x: string): string {
    const requirement = action["requirement"];
    switch (action.type) {
      case "regex":
        return `${this.#named(this.#patterns, String(requirement), "pattern")}.test(${x})`;
      case "check": {
        const { name } = requirement as { readonly name: string };
        if (name === "") throw new Error("a check must be a function with a name");
        this.#checks.add(name);
        return `${name}(${x})`;
      }
      case "integer":
        return `Number.isInteger(${x})`;
      case "min_value":
        return `${x} >= ${String(requirement)}`;
      case "max_value":
        return `${x} <= ${String(requirement)}`;
      case "min_length":
        return `${x}.length >= ${String(requirement)}`;
      default:
        throw new Error(`no acceptor for the action ${action.type}`);
    }
  }

  /** The name under which a text stands in the module, once. */
  #named(texts: Map<string, string>, text: string, prefix: string): string {
    const name = texts.get(text) ?? `${prefix}${texts.size + 1}`;
    texts.set(text, name);
    return name;
  }

  #object(schema: Schema): string {
    const entries = Object.entries(schema["entries"] as Record<string, Schema>);
    const lines = ["  if (!isObject(x)) return false;"];
    // a loose object drops these
    const odd = 'k === "__proto__" || k === "prototype" || k === "constructor"';
    const unknown = entries.map(([key]) => `k !== ${JSON.stringify(key)}`).join(" && ");
    lines.push(`  for (const k in x) if (${schema.type === "loose_object" ? odd : unknown}) return false;`);
    entries.forEach(([key, entry], i) => {
      const may = entry.type === "exact_optional" || entry.type === "optional";
      if (entry["default"] !== undefined) this.defaults[key] = entry["default"];
      const condition = this.condition(may ? (entry["wrapped"] as Schema) : entry, `x${i}`);
      lines.push(`  const x${i} = x[${JSON.stringify(key)}];`);
      lines.push(`  if (!(${may ? `x${i} === undefined || ` : ""}(${condition}))) return false;`);
    });
    return this.#named(this.#functions, [...lines, "  return true;"].join("\n"), "object");
  }

  /** The module's text. */
  module(root: Schema): string {
    const condition = this.condition(root, "json");
    const patterns = [...this.#patterns].map(([text, name]) => `const ${name} = ${text};`);
    const functions = [...this.#functions].map(
      ([body, name]) => `function ${name}(x: unknown): boolean {\n${body}\n}\n`,
    );
    return `// Written by \`npm run docs\` from the schema in config.ts: what that accepts, without loading it.
import { ${[...this.#checks].toSorted().join(", ")} } from "./config-texts.ts";

${patterns.join("\n")}

function isObject(x: unknown): x is Readonly<Record<string, unknown>> {
  return typeof x === "object" && x !== null && !Array.isArray(x);
}

function every(x: unknown, fits: (y: unknown) => boolean): x is readonly unknown[] {
  if (!Array.isArray(x)) return false;
  for (const y of x) if (!fits(y)) return false;
  return true;
}

${functions.join("\n")}
/** The values of keys that are absent. */
export const defaults = ${JSON.stringify(this.defaults)} as const;

/** True for a value from JSON that the schema accepts; it may be false for one whose unknown keys the schema drops. */
export function accepts(json: unknown): boolean {
  return ${condition};
}
`;
  }
}

/** The module that accepts what a schema does. */
export function acceptorOf(schema: v.GenericSchema): string {
  return new Acceptor().module(schema as Schema);
}
