module darkroom.invalid/testcluster/s5cmd

go 1.26.0
