// The calls of a Nomad client for an allocation in network mode cni/NAME, by the library that it makes them with.
//
//	nomad add|del CONFLIST ALLOC NETNS [HOSTPORT:PORT]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	cni "github.com/containerd/go-cni"
)

func run(verb, file, alloc, netns string, ports []string) error {
	bytes, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// the client's defaults: cni_path /opt/cni/bin, interfaces eth0, eth1, …
	c, err := cni.New(cni.WithPluginDir([]string{"/opt/cni/bin"}), cni.WithInterfacePrefix("eth"))
	if err != nil {
		return err
	}
	if err := c.Load(cni.WithConfListBytes(bytes)); err != nil {
		return err
	}
	var mappings []cni.PortMapping
	for _, text := range ports {
		var m cni.PortMapping
		if _, err := fmt.Sscanf(text, "%d:%d", &m.HostPort, &m.ContainerPort); err != nil {
			return err
		}
		for _, m.Protocol = range []string{"tcp", "udp"} {
			mappings = append(mappings, m)
		}
	}
	options := []cni.NamespaceOpts{
		cni.WithCapabilityPortMap(mappings),
		cni.WithArgs("IgnoreUnknown", "true"),
		cni.WithArgs("NOMAD_REGION", "global"),
		cni.WithArgs("NOMAD_NAMESPACE", "default"),
		cni.WithArgs("NOMAD_JOB_ID", "web"),
		cni.WithArgs("NOMAD_GROUP_NAME", "web"),
		cni.WithArgs("NOMAD_ALLOC_ID", alloc),
	}
	if verb == "del" {
		return c.Remove(context.Background(), alloc, netns, options...)
	}
	result, err := c.Setup(context.Background(), alloc, netns, options...)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "nomad add|del CONFLIST ALLOC NETNS [HOSTPORT:PORT]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
