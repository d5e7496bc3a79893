{{- define "darkroom-cluster.validate" -}}
{{- include "darkroom.validate.name" (dict "field" "fullnameOverride" "name" (include "darkroom.fullname" .) "limit" 50) -}}
{{- include "darkroom.validate" . -}}
{{- include "darkroom.validate.cluster" . -}}
{{- include "darkroom.validate.podGroup" (dict "root" . "field" "helmTest" "group" .Values.helmTest "taken" (list "submit")) -}}
{{- if .Values.devS3.enabled -}}
{{- /* A StatefulSet's name becomes a label with eleven more characters. */ -}}
{{- include "darkroom.validate.name" (dict "field" "fullnameOverride" "name" (include "darkroom.fullname" .) "limit" 49) -}}
{{- include "darkroom.validate.image" (dict "root" . "field" "devS3.image" "image" .Values.devS3.image) -}}
{{- include "darkroom.validate.podGroup" (dict "root" . "field" "devS3" "group" (omit .Values.devS3 "image") "taken" (list "seaweedfs")) -}}
{{- include "darkroom.validate.quantity" (dict "field" "devS3.storage.size" "value" .Values.devS3.storage.size) -}}
{{- if or .Values.s3.endpoint (ne .Values.s3.identity.mode "anonymous") -}}
{{- include "darkroom.refuse" (list "dev-s3-and-s3" "devS3.enabled" "is set beside s3.endpoint or s3.identity.mode" "choose one S3 server") -}}
{{- end -}}
{{- end -}}
{{- end -}}
