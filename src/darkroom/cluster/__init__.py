"""Darkroom on Kubernetes: KubeRay's rules, and submitting, following and explaining what runs."""
