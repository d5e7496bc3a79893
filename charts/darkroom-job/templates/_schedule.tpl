{{/*
What a schedule is made of: a CronJob, whose pod makes the RayJob of a run by `darkroom submit` and
waits for its end; the RayJob as a pattern in a ConfigMap; and what that pod may do and reach.
*/}}

{{- define "darkroom-job.schedule.name" -}}
{{- printf "%s-schedule" (include "darkroom.fullname" .) -}}
{{- end -}}

{{/* As Ray's pods and submitters, by keys that values cannot set; a cluster's name has no dot. */}}
{{- define "darkroom-job.schedule.selector" -}}
darkroom/cluster: {{ printf "cronjob.%s" (include "darkroom.fullname" .) | quote }}
darkroom/component: schedule
{{- end -}}

{{/*
The pod. It has the only API token of the release, of an account that Ray's pods do not have. A run
is named after its Job, so a pod that takes over from a lost one finds the RayJob.
*/}}
{{- define "darkroom-job.schedule.pod" -}}
{{- $token := include "darkroom.apiTokenVolume" . | fromYaml -}}
{{- $pattern := dict "name" "rayjob" "configMap" (dict "name" (include "darkroom-job.schedule.name" .)) -}}
{{- $spec := dict "serviceAccountName" (include "darkroom-job.schedule.name" .) "restartPolicy" "Never" -}}
{{- $_ := set $spec "volumes" (concat (list $token $pattern) (include "darkroom.s3.volumes" . | fromYamlArray)) -}}
{{- $own := include "darkroom.ownEnv" . | fromYamlArray -}}
{{- range $name, $label := dict "JOB_NAME" "job-name" "JOB_UID" "controller-uid" -}}
{{- $field := dict "fieldPath" (printf "metadata.labels['batch.kubernetes.io/%s']" $label) -}}
{{- $own = append $own (dict "name" $name "valueFrom" (dict "fieldRef" $field)) -}}
{{- end -}}
{{- $container := dict "name" "submit" "command" (list "darkroom" "submit") -}}
{{- $_ := set $container "args" (list "--file" "/etc/darkroom/rayjob.json" "--for-job" "$(JOB_NAME)/$(JOB_UID)") -}}
{{- $_ := set $container "env" $own -}}
{{- $mounts := list (dict "name" "kube-api-access" "mountPath" "/var/run/secrets/kubernetes.io/serviceaccount" "readOnly" true) -}}
{{- $mounts = append $mounts (dict "name" "rayjob" "mountPath" "/etc/darkroom" "readOnly" true) -}}
{{- $_ := set $container "volumeMounts" (concat $mounts (include "darkroom.s3.volumeMounts" . | fromYamlArray)) -}}
{{- $selected := include "darkroom-job.schedule.selector" . | fromYaml -}}
{{- $image := (include "darkroom.groupImage" (dict "root" . "group" .Values.schedule) | fromJson).image -}}
{{- include "darkroom.pod" (dict "root" . "group" .Values.schedule "component" "schedule" "labels" $selected "spec" $spec "container" $container "image" $image) -}}
{{- end -}}

{{- define "darkroom-job.schedule.cronJob" -}}
{{- $schedule := .Values.schedule -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  {{- include "darkroom.metadata" (dict "root" . "name" (include "darkroom-job.schedule.name" .)) | nindent 2 }}
spec:
  schedule: {{ $schedule.cron | quote }}
  timeZone: {{ $schedule.timeZone | quote }}
  concurrencyPolicy: {{ $schedule.concurrencyPolicy }}
  suspend: {{ $schedule.suspend }}
  {{- /* Helm takes a key away whose value is null. */}}
  {{- range $field, $value := pick $schedule "startingDeadlineSeconds" "successfulJobsHistoryLimit" "failedJobsHistoryLimit" }}
  {{- if not (kindIs "invalid" $value) }}
  {{ $field }}: {{ int64 $value }}
  {{- end }}
  {{- end }}
  jobTemplate:
    metadata:
      labels:
        {{- include "darkroom.labels" (dict "root" . "labels" dict) | nindent 8 }}
    spec:
      # For pods that are lost; a job that failed or was refused fails again.
      backoffLimit: 3
      podFailurePolicy:
        rules:
          - action: Ignore
            onPodConditions:
              - {type: DisruptionTarget, status: "True"}
          - action: FailJob
            onExitCodes: {containerName: submit, operator: In, values: [1, 2]}
      template:
        {{- include "darkroom-job.schedule.pod" . | nindent 8 }}
{{- end -}}

{{/* The operator's own schedule. What a RayJob's metadata would carry is not handed on by it. */}}
{{- define "darkroom-job.schedule.rayCronJob" -}}
apiVersion: ray.io/v1
kind: RayCronJob
metadata:
  {{- include "darkroom.metadata" (dict "root" . "name" (include "darkroom.fullname" .)) | nindent 2 }}
  {{- with .Values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  schedule: {{ .Values.schedule.cron | quote }}
  suspend: {{ .Values.schedule.suspend }}
  {{- if ne .Values.schedule.timeZone "Etc/UTC" }}
  timeZone: {{ .Values.schedule.timeZone | quote }}
  {{- end }}
  jobTemplate:
    {{- include "darkroom-job.spec" . | nindent 4 }}
{{- end -}}
