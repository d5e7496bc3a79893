{{/*
Names and labels. Every helper of this chart takes the root context, or a dict with `root`.
*/}}

{{- define "darkroom.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "darkroom.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
{{ include "darkroom.podLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Labels of pods, and of policies that select them. They leave app.kubernetes.io/name alone: the
operator sets it, and the services that it makes for a RayJob select by it. They leave versions
alone too: a pod template that changes with the chart's version would differ for no reason.
*/}}
{{- define "darkroom.podLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: darkroom
{{- end -}}

{{- define "darkroom.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "darkroom.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Image reference of dict `root`, `image`: repository[:tag][@digest]; a digest needs no tag. */}}
{{- define "darkroom.image" -}}
{{- $tag := default .root.Chart.AppVersion .image.tag -}}
{{- .image.repository }}:{{ $tag }}{{ with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* A shell word for POSIX sh and bash, byte for byte. Takes a string. */}}
{{- define "darkroom.shellQuote" -}}
{{- if regexMatch "^[A-Za-z0-9_@%+=:,./-]+$" . -}}
{{- . -}}
{{- else -}}
{{- printf "'%s'" (replace "'" `'"'"'` .) -}}
{{- end -}}
{{- end -}}
