{{/* Objects given in values; strings in them are templates. */}}
{{- define "darkroom.extraObjects" -}}
{{- range .Values.extraObjects }}
---
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
