// The topology of a lab, drawn for a terminal.

/** The routing story: one host with two NICs on two LANs, and who else is there; what joins host and task when attached. */
export function routingPicture(task: string, attached: boolean): string {
  const way = attached ? "◄══ /32 ══►" : "   no way  ";
  const ip = task.padEnd(21);
  return `\
 ┌─ host ─────────────────────────┐             ┌─ task ────────────────────┐
 │ agent 192.168.10.22 on eth0    │             │ eth0 ${ip}│
 │ eth1, without address, carries │             │ a macvtap on eth1         │
 │   macvtap1  spare: hostrouteif │ ${way} │                           │
 │   macvtap2  a virtual machine  │             └─────────────┬─────────────┘
 │   macvtap3  a virtual machine  │                           │
 └──┬──────────────────────────┬──┘                           │
    │ eth0                     │ eth1                         │
 ═══╪═ LAN 192.168.10.0/24 ═   ╪══ LAN 192.168.122.0/24 ══════╪══════════════
    │                          │                              │
 ┌──┴─ router ─────────────────┴──┐             ┌─ neighbour ─┴─────────────┐
 │ 192.168.10.1     192.168.122.1 │             │ 192.168.122.22            │
 └────────────────────────────────┘             └───────────────────────────┘`;
}
