// CNI configuration lists that are imported as text.
declare module "*.conflist" {
  const text: string;
  export default text;
}
