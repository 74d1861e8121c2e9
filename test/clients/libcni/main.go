// A caller made of libcni alone, as Debian packages it.
//
//	libcni [flags] add|check|del|version CONFLIST NETNS
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

// pairs collects repeated flags KEY=VALUE, in their order.
type pairs [][2]string

func (p *pairs) String() string { return fmt.Sprint(*p) }

func (p *pairs) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q is no KEY=VALUE", text)
	}
	*p = append(*p, [2]string{key, value})
	return nil
}

func load(file string) (*libcni.NetworkConfigList, error) {
	if filepath.Ext(file) == ".conflist" {
		return libcni.ConfListFromFile(file)
	}
	conf, err := libcni.ConfFromFile(file)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromConf(conf)
}

func run() error {
	var args pairs
	id := flag.String("id", "", "container id")
	ifName := flag.String("if", "eth0", "interface name")
	path := flag.String("path", "/opt/cni/bin", "plugin directories")
	cache := flag.String("cache", "/var/lib/cni", "libcni's cache")
	capabilities := flag.String("capabilities", "{}", "capability arguments, JSON")
	flag.Var(&args, "arg", "CNI_ARGS, KEY=VALUE, repeated")
	flag.Parse()
	list, err := load(flag.Arg(1))
	if err != nil {
		return err
	}
	rt := &libcni.RuntimeConf{ContainerID: *id, NetNS: flag.Arg(2), IfName: *ifName, Args: args}
	if err := json.Unmarshal([]byte(*capabilities), &rt.CapabilityArgs); err != nil {
		return err
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(*path), *cache, nil)
	ctx := context.Background()
	switch flag.Arg(0) {
	case "add":
		result, err := cni.AddNetworkList(ctx, list, rt)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(ctx, list, rt)
	case "del":
		return cni.DelNetworkList(ctx, list, rt)
	case "version":
		_, err := cni.ValidateNetworkList(ctx, list)
		return err
	}
	return fmt.Errorf("no command %q", flag.Arg(0))
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
