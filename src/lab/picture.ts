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

/** The story of tunnels: two hosts, a router, what sits on the tunnels, and the outside. */
export function tunnelsPicture(kind: string, mtu: number): string {
  const tunnel = `${kind}, MTU ${mtu}`;
  return `\
                       ┌─ outside ───────────────────┐
                       │ 198.51.100.9                │
                       └──────────────┬──────────────┘
 ┌─ router ───────────────────────────┴──────────────────────────────────────┐
 │ eth1 198.51.100.1   translates 10.90.0.0/24, forwards 203.0.113.0/24      │
 │ eth0 192.168.10.1   tunnels, bridged: 10.90.0.1 and 203.0.113.1           │
 └──┬───────────────────╥────────────────────────────────────╥───────────────┘
    │                   ║ ${tunnel.padEnd(16)}                   ║ ${tunnel}
 ═══╪═ LAN 192.168.10.0/24 ═══════════════════╪══            ║
    │ eth0              ║ tun1                │ eth0         ║ tun1
 ┌──┴─ host-a ──────────╨──────────────┐   ┌──┴─ host-b ─────╨───────────────┐
 │ agent 192.168.10.11 on eth0         │   │ agent 192.168.10.12 on eth0     │
 │ vm-a  10.90.0.31, a macvtap on tun1 │   │ vm-b  10.90.0.32, a macvtap     │
 │       192.168.10.31, one on eth0    │   │ vm-c  203.0.113.33, a macvtap   │
 │ app-a 10.90.0.21, a macvlan on tun1 │   │ app-b 203.0.113.22, a macvlan   │
 └─────────────────────────────────────┘   └─────────────────────────────────┘`;
}
