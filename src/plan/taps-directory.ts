/** Where device nodes are that nobody gave another place: Berth's own directory, which goes with the kernel's state. */
export const TAPS = "/run/berth/taps";
