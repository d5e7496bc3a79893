{{/*
The service account that S3 permissions belong to. Nothing mounts its API token by default.
With Redis it outlives the release (docs/decisions/0020): the operator's Job that removes a cluster's keys starts
minutes after everything else is gone, under the head's account. The annotations stay where they are when the options go, for the
cluster that had them may end after that. Helm and Flux go by the first annotation; so does Argo CD when an
Application goes, and by the others when the account alone is no longer rendered.
*/}}
{{- define "darkroom.serviceAccount" -}}
{{- if and .Values.enabled .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "darkroom.metadata" (dict "root" . "name" (include "darkroom.serviceAccountName" .)) | nindent 2 }}
  {{- $annotations := deepCopy .Values.serviceAccount.annotations }}
  {{- if eq .Values.s3.identity.mode "irsa" }}
  {{- $_ := set $annotations "eks.amazonaws.com/role-arn" .Values.s3.identity.roleArn }}
  {{- end }}
  {{- $live := lookup "v1" "ServiceAccount" .Release.Namespace (include "darkroom.serviceAccountName" .) }}
  {{- $known := dig "metadata" "annotations" dict (default dict $live) }}
  {{- $kept := and (get $known "helm.sh/resource-policy") (get $known "argocd.argoproj.io/compare-options") }}
  {{- if or .Values.gcsFaultToleranceOptions $kept }}
  {{- $_ := set $annotations "helm.sh/resource-policy" "keep" }}
  {{- $_ := set $annotations "argocd.argoproj.io/sync-options" "Prune=false" }}
  {{- $_ := set $annotations "argocd.argoproj.io/compare-options" "IgnoreExtraneous" }}
  {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end -}}
