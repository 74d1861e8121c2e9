export async function cli(argv: readonly string[]): Promise<void> {
  console.log(argv.join(" "));
}
