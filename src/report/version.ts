import { version as stated } from "../../package.json" with { type: "json" };

/** Berth's version, of package.json. */
export const version: string = stated;
