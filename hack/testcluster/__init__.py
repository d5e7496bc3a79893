"""A real Kubernetes on one Linux machine, for tests: no Docker, no registry, no virtual machine.

One process tree in its own PID, mount, network and UTS namespaces is the node: etcd, the control
plane, containerd, the kubelet, kube-proxy and CoreDNS, with the KubeRay operator on top. Killing
the tree's first process is most of the clean-up, for the kernel then removes its mounts, links
and firewall rules too.

It assumes Linux, root and Go. It is a test tool, not a distribution: one node, no upgrades, no
safety of data.
"""
