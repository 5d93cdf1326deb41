"""Where chains are carried out: in this process, in worker processes of this machine, or as jobs of Slurm."""
